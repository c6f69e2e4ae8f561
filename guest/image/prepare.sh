#!/bin/sh
# mmdebstrap setup hook: where packages come from, merged /usr, and a local source with one empty package that provides
# everything in absent.txt. Arguments: the recipe's folder, the root being built.
# BULKHEAD_DEBIAN_MIRROR, when set, takes the place of the mirror that mmdebstrap chose; it must have the security updates too.
set -eu
recipe=$1 root=$2
if [ -n "${BULKHEAD_DEBIAN_MIRROR-}" ]; then
  for list in "$root/etc/apt/sources.list" "$root"/etc/apt/sources.list.d/*.list; do
    [ -f "$list" ] || continue
    sed -i -n -e '/updates\|security/d' -e "s|^\(deb \(\[[^]]*\] \)\{0,1\}\)[^ ]* |\1$BULKHEAD_DEBIAN_MIRROR |p" "$list"
  done
fi
for name in bin sbin lib lib64; do
  mkdir -p "$root/usr/$name"
  ln -s "usr/$name" "$root/$name"
done
# mmdebstrap mounts into these while hooks run, where they exist.
mkdir -p "$root/proc" "$root/sys"
repository=$root/.bulkhead/absent
mkdir -p "$repository" "$root/.bulkhead/package/DEBIAN"
provides=$(sed -e '/^#/d' -e '/^$/d' -e 's/$/ (= 99:0)/' "$recipe/absent.txt" | paste -sd, -)
cat >"$root/.bulkhead/package/DEBIAN/control" <<CONTROL
Package: bulkhead-absent
Version: 1
Architecture: all
Maintainer: Bulkhead <bulkhead@localhost>
Description: stands in for packages that the guest does without
Provides: $provides
CONTROL
deb=$repository/bulkhead-absent_1_all.deb
dpkg-deb --root-owner-group -Znone -b "$root/.bulkhead/package" "$deb" >/dev/null
{
  cat "$root/.bulkhead/package/DEBIAN/control"
  echo "Filename: ./${deb##*/}"
  echo "Size: $(stat -c %s "$deb")"
  echo "SHA256: $(sha256sum "$deb" | cut -d' ' -f1)"
} >"$repository/Packages"
chmod -R a+rX "$root/.bulkhead"
echo "deb [trusted=yes] copy:$repository ./" >"$root/etc/apt/sources.list.d/bulkhead-absent.list"
