#!/usr/bin/env bash
# A bare Debian: machine.sh RELEASE [COMMAND…] runs a command, by default the walk, on a machine that has Debian's
# minimum, python3, python3-venv, make and git, and nothing else, as a user without rights whose home is empty. This
# repository lies there as /mnt/source.git. Network, names and pip's settings are this machine's. The machine is made
# once and kept under BARE_CACHE, as is what pip downloads there; what the command writes is thrown away. Needs root,
# or sudo without a password, and debootstrap, which is installed where it is missing. DEBIAN_MIRROR names another
# mirror than this machine's.
set -euo pipefail

RELEASE=${1:?a Debian release: bookworm or trixie}
shift
[ "$#" -gt 0 ] || set -- /mnt/walk.sh
[ "$(id -u)" -eq 0 ] || exec sudo -n --preserve-env "$0" "$RELEASE" "$@"

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/debian.sh
. "$HERE/../debian.sh"
PACKAGES=python3,python3-venv,make,git
CACHE=${BARE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bare-debian}
ROOT=$CACHE/$RELEASE-$(cksum <<<"$PACKAGES" | cut -d ' ' -f 1)
CERTIFICATES=/etc/ssl/certs/ca-certificates.crt
USER_ID=1000
HOME_THERE=/home/user

# shellcheck disable=SC2317  # called when this shell ends
leave() {
    [ -z "$child" ] || { kill -KILL "$child" && wait "$child"; } 2>/dev/null || true
    rm -rf "$WORK" ${new:+"$new"} 2>/dev/null ||
        { sleep 1; rm -rf "$WORK" ${new:+"$new"}; } # what was killed may still have been writing
}

# In namespaces of its own, so that its mounts and processes end with it, and it with this shell.
contained() {
    local code=0
    unshare --mount --mount-proc --pid --ipc --fork --kill-child=SIGKILL "$@" <&0 &
    child=$!
    wait "$child" || code=$?
    child=
    return "$code"
}

make_root() {
    command -v debootstrap >/dev/null || {
        apt-get -o DPkg::Lock::Timeout=300 update -qq
        DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
            debootstrap debian-archive-keyring
    } >&2
    local address begin=$SECONDS
    address=${DEBIAN_MIRROR:-$(mirror)}
    mkdir -p "$CACHE"
    new=$(mktemp -d "$CACHE/new.XXXXXX")
    # The machine can be made again when the power fails: nothing has to be on the disk before the next package.
    mkdir -p "$new/etc/dpkg/dpkg.cfg.d"
    echo force-unsafe-io >"$new/etc/dpkg/dpkg.cfg.d/fast"
    contained debootstrap --variant=minbase --include="$PACKAGES" "$RELEASE" "$new" ${address:+"$address"} \
        >"$WORK/log" 2>&1 || { tail -n 20 "$WORK/log" >&2; exit 1; }
    chroot "$new" useradd --uid "$USER_ID" --create-home --shell /bin/bash user
    touch "$new/etc/pip.conf" "$new/etc/pip-certificates.pem" "$new/etc/resolv.conf" "$new/etc/hosts"
    chmod 755 "$new"
    mv -T "$new" "$ROOT"
    new=
    echo "bare $RELEASE made in $((SECONDS - begin)) s"
}

# shellcheck disable=SC2317  # called in the shell that unshare starts
# The machine's folders, then the command as its user: enter ROOT WORK COMMAND…
enter() {
    local root=$1 work=$2
    shift 2
    mount --bind "$root" "$root"
    mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    mkdir "$root/dev/pts" "$root/dev/shm"
    for device in null zero full random urandom tty; do
        touch "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
    mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$root/dev/shm"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    for number in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${number%:*}" "$root/dev/${number#*:}"; done
    mount --bind "$work/home" "$root$HOME_THERE"
    mount --bind "$work/tmp" "$root/tmp"
    mount --bind "$work/tmp" "$root/var/tmp"
    mount --bind "$work/mnt" "$root/mnt"
    mount --bind "$CACHE/pip" "$root$HOME_THERE/.cache/pip"
    for file in resolv.conf hosts; do mount --bind "$(readlink -f "/etc/$file")" "$root/etc/$file"; done
    mount --bind "$work/pip.conf" "$root/etc/pip.conf"
    [ ! -e "$CERTIFICATES" ] || mount --bind "$(readlink -f "$CERTIFICATES")" "$root/etc/pip-certificates.pem"
    local proxies=()
    for name in http_proxy https_proxy no_proxy; do [ -z "${!name:-}" ] || proxies+=("$name=${!name}"); done
    # Not exec: what is killed with the namespace is its first process, which must have kept its user.
    chroot "$root" setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups --no-new-privs \
        --inh-caps=-all --bounding-set=-all env -i HOME="$HOME_THERE" USER=user LOGNAME=user TERM="${TERM:-dumb}" \
        PATH=/usr/local/bin:/usr/bin:/bin "${proxies[@]}" sh -c 'cd && exec "$@"' sh "$@" || return
}

WORK=$(mktemp -d)
new=
child=
trap leave EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
if [ ! -d "$ROOT" ]; then make_root; fi
mkdir -p "$WORK/home/.cache/pip" "$WORK/tmp" "$WORK/mnt" "$CACHE/pip"
chmod 1777 "$WORK/tmp"
cp "$HERE/walk.sh" "$WORK/mnt/"
git clone --quiet --bare "file://$(cd "$HERE/../.." && pwd)" "$WORK/mnt/source.git"
certificates=
[ ! -e "$CERTIFICATES" ] || certificates=/etc/pip-certificates.pem
pip_settings "$certificates" >"$WORK/pip.conf"
chmod 644 "$WORK/pip.conf"
chmod 755 "$WORK" "$WORK/home" "$WORK/mnt"
chown -R "$USER_ID:$USER_ID" "$WORK/home" "$WORK/mnt" "$CACHE/pip"
export -f enter
export CACHE CERTIFICATES USER_ID HOME_THERE
contained bash -euo pipefail -c 'enter "$@"' bash "$ROOT" "$WORK" "$@"
