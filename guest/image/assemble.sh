#!/bin/sh
# mmdebstrap customize hook: downloads the packages, unpacks them, makes of them a root, packs it. What the build takes out
# is in /.bulkhead/out. Arguments: the recipe's folder, the root being built. Lines "bulkhead-stage: NAME" on standard error
# tell the driver how far it is.
#
# Maintainer scripts do not run: for this list of packages they would only do what setup.sh does in a fraction of the time.
set -eu
recipe=$1 root=$2
out=$root/.bulkhead/out
debs=$root/.bulkhead/debs
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
PATH=$PATH:/usr/sbin:/sbin
processors=$(nproc)
export APT_CONFIG PATH LC_ALL=C.UTF-8
mkdir -p "$out" "$debs/partial"

listed() { grep -v -e '^#' -e '^$' "$recipe/$1"; }
apt() { apt-get -qq -o APT::Sandbox::User=root -o APT::Install-Recommends=false -o "Dir::Cache::archives=$debs" "$@"; }

echo 'bulkhead-stage: download' >&2
kernel=$(apt-cache show --no-all-versions linux-image-cloud-amd64 | sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p')
test -n "$kernel"
# shellcheck disable=SC2046
apt --yes --download-only install bulkhead-absent $(listed packages.txt) >&2
(cd "$out" && apt download "$kernel" busybox-static >&2)
mv "$out"/linux-image-*.deb "$out/kernel.deb"
mv "$out"/busybox-static_*.deb "$out/busybox.deb"
rm -f "$debs"/bulkhead-absent_*.deb

# What goes in, as the archive's index describes it: name, version and digest of each.
for deb in "$debs"/*.deb "$out"/*.deb; do
  dpkg-deb --show --showformat='${Package}=${Version}\n' "$deb"
done | sort >"$root/.bulkhead/installed"
xargs apt-cache show --no-all-versions <"$root/.bulkhead/installed" \
  | grep -E '^(Package|Source|Version|Architecture|SHA256|Homepage):|^$' >"$out/packages.txt"

echo 'bulkhead-stage: unpack' >&2
listed exclude.txt >"$root/.bulkhead/exclude"
unpack='
  set -eu
  root=$1 deb=$2
  dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --keep-directory-symlink --wildcards --wildcards-match-slash --anchored \
    --exclude-from="$root/.bulkhead/exclude"
'
# The big ones first, so that the processors end together.
ls -S "$debs"/*.deb | xargs -P "$processors" -n 1 sh -c "$unpack" unpack "$root"

echo 'bulkhead-stage: setup' >&2
chroot "$root" /bin/sh -eu <"$recipe/setup.sh" >&2

echo 'bulkhead-stage: compile' >&2
# With the source's time inside: a library that a user edits in the guest is compiled anew.
chroot "$root" python3 -I -m compileall -q -j "$processors" /usr/lib/python3.11 /usr/lib/python3/dist-packages >&2

echo 'bulkhead-stage: check' >&2
chroot --userspec=1000:1000 "$root" env -i HOME=/home/user PATH=/usr/bin:/bin:/usr/sbin:/sbin python3 -B - <"$recipe/check.py" >&2
rm -rf "$root/home/user/.ipython" "$root/tmp/"*

echo 'bulkhead-stage: pack' >&2
mkfs.erofs --quiet -x-1 --preserve-mtime -zlz4 -C65536 -U 00000000-0000-0000-0000-000000000000 \
  --exclude-path=.bulkhead --exclude-regex='^(dev|proc|sys|run)/.*' "$out/root.erofs" "$root" >/dev/null
