#!/usr/bin/env bash
# A Docker engine that has python:3.11-slim, for tests that build images. What is there already is used as it is; a
# missing engine is installed and started, and where no registry can be reached the base image is made from Debian's
# packages. Doing it twice does nothing twice. Needs root, or sudo without a password, only for what is missing.
set -euo pipefail

BASE=python:3.11-slim
DATA_ROOT=${DOCKER_DATA_ROOT:-/var/lib/docker}
LOG=${TMPDIR:-/tmp}/dockerd.log
CERTIFICATES=/etc/ssl/certs/ca-certificates.crt
# shellcheck source=tests/debian.sh
. "$(dirname "${BASH_SOURCE[0]}")/../debian.sh"

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_missing() {
    local missing=()
    for package in "$@"; do
        dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    as_root apt-get -o DPkg::Lock::Timeout=300 update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq \
        --no-install-recommends "${missing[@]}"
}

answers() { docker info >/dev/null 2>&1 || as_root docker info >/dev/null 2>&1; }

# start_engine OPTIONS…: true once it answers, false when it ended or stayed silent for half a minute.
start_engine() {
    as_root sh -c 'nohup dockerd "$@" >"$0" 2>&1 </dev/null & echo $!' "$LOG" --data-root "$DATA_ROOT" "$@" >"$LOG.pid"
    local process
    process=$(cat "$LOG.pid")
    for _ in $(seq 60); do
        answers && return 0
        as_root kill -0 "$process" 2>/dev/null || return 1
        sleep 0.5
    done
    as_root kill "$process"
    return 1
}

provide_engine() {
    answers && return
    command -v dockerd >/dev/null && command -v containerd >/dev/null ||
        install_missing docker.io containerd runc iptables
    # A service manager may have started it while it was installed.
    answers && return
    start_engine || start_engine --storage-driver vfs || start_engine --storage-driver vfs --iptables=false || {
        tail -n 20 "$LOG" >&2
        echo "no Docker engine answers: the lines above are the end of $LOG" >&2
        return 1
    }
}

make_base() {
    install_missing debootstrap ca-certificates
    local work root mirror
    mirror=${DEBIAN_MIRROR:-$(mirror)}
    work=$(mktemp -d)
    root=$work/root
    # The image is thrown away when the power fails: nothing has to be on the disk before the next package.
    mkdir -p "$root/etc/dpkg/dpkg.cfg.d"
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/fast"
    as_root debootstrap --variant=minbase --include=python3-distutils,python3.11-venv,ca-certificates \
        bookworm "$root" ${mirror:+"$mirror"} >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; return 1; }
    pip_settings "$CERTIFICATES" >"$work/pip.conf"
    as_root install -m 644 "$work/pip.conf" "$root/etc/pip.conf"
    as_root install -m 644 "$(readlink -f "$CERTIFICATES")" "$root$CERTIFICATES"
    as_root ln -sf /usr/bin/python3.11 "$root/usr/local/bin/python"
    as_root ln -sf /usr/bin/python3.11 "$root/usr/local/bin/python3"
    as_root tar -C "$root" --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./usr/share/doc/*' \
        --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='./usr/share/info/*' \
        --exclude='./debootstrap' -c . |
        as_root docker import --change 'CMD ["python3"]' \
            --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$BASE" >/dev/null
    as_root rm -rf "$work"
}

provide_base() {
    as_root docker image inspect "$BASE" >/dev/null 2>&1 && return
    as_root timeout 60 docker pull --quiet "$BASE" 2>/dev/null && return
    echo "no registry answers: making $BASE from Debian's packages, one to two minutes"
    make_base
}

provide_engine
provide_base
echo "Docker $(as_root docker version --format '{{.Server.Version}}') with $BASE ($((SECONDS)) s)"
