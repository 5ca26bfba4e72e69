# shellcheck shell=bash
# Sourced: what machines and containers made here are told of this machine's packages.

# Where this machine gets its packages, if it is a Debian; else debootstrap knows where Debian's are.
mirror() {
    # shellcheck source=/dev/null
    [ "$(. /etc/os-release && echo "${ID:-}")" = debian ] || return 0
    # shellcheck disable=SC2016  # apt's own variables
    apt-get indextargets --format '$(COMPONENT) $(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "main" && $2 !~ /-/ && $3 ~ /^(https?|file):/ && !found { print $3; found = 1 }'
}

# pip's settings of this machine, as far as they mean something on another one: pip_settings CERTIFICATES, a file there.
pip_settings() {
    printf '[global]\n'
    [ -z "$1" ] || printf 'cert = %s\n' "$1"
    { python3 -m pip config list 2>/dev/null || true; } |
        sed -nE "s/^(:env:|global)\.((extra-)?index-url|trusted-host)='([^']*)'$/\2 = \4/p" |
        awk '!/file:/ && !seen[$1]++'
}
