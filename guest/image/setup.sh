# Runs in the chroot on unpacked packages: does what their maintainer scripts would have done, as far as the guest needs it,
# then users, defaults and caches.

# Accounts.
cp /usr/share/base-passwd/passwd.master /etc/passwd
cp /usr/share/base-passwd/group.master /etc/group
sed -i 's|^root:[^:]*:|root:x:|' /etc/passwd
echo 'user:x:1000:1000:user:/home/user:/bin/bash' >>/etc/passwd
echo 'user:x:1000:' >>/etc/group
sed 's/^\([^:]*\):.*/\1:!:19000:0:99999:7:::/' /etc/passwd >/etc/shadow
chown 0:42 /etc/shadow
chmod 0640 /etc/shadow

# base-files, libc, dash: files that are copied, not shipped.
cp /usr/share/base-files/dot.bashrc /root/.bashrc
cp /usr/share/base-files/profile /etc/profile
cp /usr/share/libc-bin/nsswitch.conf /etc/nsswitch.conf
[ -e /bin/sh ] || ln -s dash /bin/sh
ln -sfn /run /var/run
ln -sfn /run/lock /var/lock

# Alternatives. Each name has one provider here, so a plain link does.
libraries=/usr/lib/x86_64-linux-gnu
ln -sfn openblas-pthread/libblas.so.3 $libraries/libblas.so.3
ln -sfn openblas-pthread/liblapack.so.3 $libraries/liblapack.so.3
ln -sfn openblas-pthread/libopenblas.so.0 $libraries/libopenblas.so.0
ln -sfn mawk /usr/bin/awk
ln -sfn which.debianutils /usr/bin/which
ln -sfn less /usr/bin/pager
ln -sfn nano /usr/bin/editor
ldconfig

# Certificates.
(cd /usr/share/ca-certificates && find . -name '*.crt' | sed 's|^\./||' | sort) >/etc/ca-certificates.conf
update-ca-certificates --fresh >/dev/null 2>&1
test -s /etc/ssl/certs/ca-certificates.crt

# npm looks for what compiles addons, whether or not there are any.
mkdir -p /usr/share/nodejs/node-gyp/bin
echo 'console.error("There is no compiler here."); process.exit(1);' >/usr/share/nodejs/node-gyp/bin/node-gyp.js

mkdir -p /home/user
cp /etc/skel/.[a-z]* /home/user/
# Where `pip install` puts what it installs: there before an interpreter looks, which would not look again.
mkdir -p /home/user/.local/lib/python3.11/site-packages /home/user/.local/bin
# No package manager of the system's has to be kept apart from pip.
rm -f /usr/lib/python3.11/EXTERNALLY-MANAGED
chmod 0700 /root
chmod 1777 /tmp /var/tmp

# No program needs more rights than who starts it: nobody in the guest has another identity to change to.
find / -xdev -perm /6000 -type f -exec chmod a-s {} +

# Empty, and written by the agent when a machine is made unique.
: >/etc/machine-id
echo bulkhead >/etc/hostname
printf '127.0.0.1 localhost\n::1 localhost\n' >/etc/hosts
: >/etc/resolv.conf
ln -sfn /usr/share/zoneinfo/Etc/UTC /etc/localtime
echo Etc/UTC >/etc/timezone

# Figures are drawn, not shown; the list of fonts takes seconds to make, so both users find it made.
sed -i 's/^#\{0,1\}backend *:.*/backend: Agg/' /etc/matplotlibrc
grep -q '^backend: Agg$' /etc/matplotlibrc
HOME=/root python3 -I -B -c 'import matplotlib.font_manager'
mkdir -p /home/user/.cache
cp -r /root/.cache/matplotlib /home/user/.cache/
chown -R 1000:1000 /home/user

# The agent's place. It comes with the initramfs at every boot.
mkdir -p /usr/lib/bulkhead/agent

# What only a system that installs packages needs.
rm -rf /var/lib/apt /var/cache/apt /var/cache/ldconfig /var/lib/dpkg /var/log/* /etc/apt /etc/dpkg /boot/* /etc/kernel
