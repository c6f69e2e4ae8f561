#!/bin/sh
# Stands in for mmdebstrap: puts in BULKHEAD_OUT what the real one leaves there, or goes wrong as BULKHEAD_FAKE says.
set -eu
case ${BULKHEAD_FAKE-} in
  network) echo 'E: Failed to fetch http://archive.invalid/dists: Temporary failure resolving archive.invalid' >&2; exit 1 ;;
  space) echo 'dpkg: error: cannot write: No space left on device' >&2; exit 2 ;;
  broken) echo 'E: something else' >&2; exit 3 ;;
  hang) echo 'bulkhead-stage: download'; sleep 600 & wait ;;
esac

package() { # package NAME: the tree in ./NAME as NAME.deb
  mkdir "$1/DEBIAN"
  printf 'Package: %s\nVersion: 1\nArchitecture: amd64\nMaintainer: nobody <nobody@example.invalid>\nDescription: test\n' "$1" >"$1/DEBIAN/control"
  dpkg-deb --root-owner-group -Znone -b "$1" "$1.deb" >/dev/null
  rm -r "$1"
}

mkdir -p "$BULKHEAD_OUT"
cd "$BULKHEAD_OUT"
echo "$$" >root.erofs
mkdir -p kernel/boot kernel/lib/modules/6.1-test busybox/bin
echo kernel >kernel/boot/vmlinuz-6.1-test
for module in virtio_mmio virtio_blk virtio_console virtio_rng erofs overlay; do
  echo "$module" >"kernel/lib/modules/6.1-test/$module.ko"
done
echo busybox >busybox/bin/busybox
package kernel
package busybox
hex=$(printf '%064d' 7)
printf 'Package: zlib1g\nVersion: 1:1.2\nArchitecture: amd64\nSHA256: %s\nHomepage: https://zlib.net/\n\n' "$hex" >packages.txt
printf 'Package: bash\nVersion: 5.2\nArchitecture: amd64\nSHA256: %s\n' "$hex" >>packages.txt
