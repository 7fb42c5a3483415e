#!/bin/sh
# Installs what Switchboard needs and this machine lacks: Debian packages and a Python environment in .venv.
#   setup.sh         what running a cluster needs
#   setup.sh dev     also what ./check needs
# Nothing is done twice: a stamp in .venv, a copy of pyproject.toml, remembers for what it was made. Debian is kept from starting or enabling the services of the
# packages installed here, because a cluster starts private instances of its own.
set -eu

root=$(cd "$(dirname "$0")" && pwd)
kind=${1:-run}
log=$root/.setup.log

say() { printf '%s\n' "switchboard setup: $*" >&2; }

fail() {
    say "$1"
    [ -s "$log" ] && { say "the last lines of $log:"; tail -n 15 "$log" >&2; }
    [ -n "${2:-}" ] && say "what to do: $2"
    exit 1
}

# What is missing, as Debian package names. A tool that is there from elsewhere (a kubectl from its makers, say) is kept.
missing_packages() {
    has() { command -v "$1" >/dev/null 2>&1; }
    has containerd || echo containerd
    has runc || echo runc
    has docker-registry || echo docker-registry
    has catatonit || echo catatonit
    has ip || echo iproute2
    has nft || echo nftables
    has iptables || echo iptables
    has conntrack || echo conntrack
    has kubectl || echo kubernetes-client
    [ -x /usr/lib/cni/bridge ] || [ -x /opt/cni/bin/bridge ] || echo containernetworking-plugins
    ls /usr/lib/*/libnftables.so.1 >/dev/null 2>&1 || echo libnftables1
    [ -f /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    # the module exists in Debian's python3 without the wheels that make it work; those come with python3-venv
    python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || echo python3-venv
    if [ "$kind" = dev ]; then
        has curl || echo curl
        has openssl || echo openssl
        has dig || echo bind9-dnsutils
        has drill || echo ldnsutils
        has musl-gcc || echo musl-tools
        has git || echo git
    fi
}

# What compiling the server needs; it runs interpreted without
missing_compiler() {
    command -v gcc >/dev/null 2>&1 || echo gcc
    [ -f /usr/include/stdio.h ] || echo libc6-dev
    python3 -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
        >/dev/null 2>&1 || echo python3-dev
}

install_packages() {
    [ "$(id -u)" = 0 ] || fail "these Debian packages are missing: $*" "run this as root, or: sudo apt-get install $*"
    command -v apt-get >/dev/null || fail "these packages are missing and there is no apt-get here: $*" "install them by hand"
    say "installing Debian packages: $* (log: $log)"
    policy=/usr/sbin/policy-rc.d
    made=
    if [ ! -e "$policy" ]; then
        # 101 means "action forbidden by policy": /usr/share/doc/init-system-helpers/README.policy-rc.d
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made=1
        trap 'rm -f "$policy"' EXIT INT TERM HUP
    fi
    apt_install "$@" || {
        say "fetching package lists and trying again"
        apt-get update >>"$log" 2>&1 || true
        apt_install "$@" || fail "apt-get could not install: $*" "see that this machine reaches a Debian mirror, then run this again"
    }
    if [ -n "$made" ]; then
        rm -f "$policy"
        trap - EXIT INT TERM HUP
    fi
    if [ -d /run/systemd/system ]; then
        for package in "$@"; do
            case $package in
                containerd | docker-registry) systemctl disable "$package.service" >>"$log" 2>&1 || true ;;
            esac
        done
    fi
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" \
        </dev/null >>"$log" 2>&1
}

make_environment() {
    extras='[compile]'
    [ "$kind" = dev ] && extras='[compile,dev]'
    if ! "$root/.venv/bin/python" -c 'import pip' >/dev/null 2>&1; then
        say "making a Python environment in $root/.venv"
        python3 -m venv "$root/.venv" >>"$log" 2>&1 || fail "python3 -m venv $root/.venv failed" "remove .venv and run this again"
    fi
    say "installing Python packages (log: $log)"
    "$root/.venv/bin/python" -m pip install --disable-pip-version-check -e "$root$extras" >>"$log" 2>&1 ||
        fail "pip could not install the project into $root/.venv" "see that this machine reaches a Python package index, then run this again"
    "$root/.venv/bin/python" -m compileall -q "$root/src/switchboard" >>"$log" 2>&1 || true
    cp "$root/pyproject.toml" "$root/.venv/.ready-run"
    [ "$kind" = run ] || cp "$root/pyproject.toml" "$root/.venv/.ready-dev"
}

if ! (: >>"$root/.setup.lock") 2>/dev/null; then
    say "something is missing here, and $(id -un) may not write to $root to install it"
    say "what to do: run this as root, once; or use a checkout of your own"
    exit 1
fi
exec 9>"$root/.setup.lock"
flock 9 # two runs at once would take each other's policy-rc.d away
: >"$log"
packages=$(missing_packages)
# shellcheck disable=SC2086  # a list of words
[ -z "$packages" ] || install_packages $packages
compiler=$(missing_compiler)
# shellcheck disable=SC2086
[ -z "$compiler" ] || [ "$(id -u)" != 0 ] || (install_packages $compiler) || say "going on without: $compiler"
stamp=$root/.venv/.ready-$kind
if cmp -s "$root/pyproject.toml" "$stamp"; then
    touch "$stamp" # only newer, not different: a checkout does that
else
    make_environment
fi
"$root/.venv/bin/python" -I -m switchboard.compiled.build >>"$log" || say "the server runs interpreted (why: $log)"
