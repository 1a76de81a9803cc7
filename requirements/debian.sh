#!/bin/sh
# Installs the Debian packages of programs that are missing: debian.sh PROGRAM=PACKAGE ... or debian.sh PACKAGE ...
# Needs root, or sudo. Says what to install by hand where it can't. No service of the packages is started.
set -eu
# Where Debian has servers, which is not on everybody's path
PATH="$PATH:/usr/sbin:/sbin"
missing=
for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || missing="$missing ${pair#*=}"
done
[ -n "$missing" ] || exit 0

give_up() {
    echo "palaver: please install:$missing ($1)" >&2
    exit 1
}

command -v apt-get >/dev/null 2>&1 || give_up "there is no apt-get here to do it"
as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || give_up "this needs root, and there is no sudo"
    as_root="sudo"
fi
echo "Installing:$missing"
$as_root apt-get update -qq || give_up "apt-get update failed"

# A package starts its server as soon as it is installed, unless this file says no (Debian policy 9.3.3) ...
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '$as_root rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
fi

enabled_units() {
    systemctl list-unit-files --state=enabled --no-legend 2>/dev/null | while read -r unit _; do echo "$unit"; done
}
before=$(enabled_units)
# shellcheck disable=SC2086 # one word a package
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o DPkg::Lock::Timeout=300 $missing >/dev/null || give_up "apt-get install failed"

# ... and again whenever the machine starts, unless its unit is disabled
for unit in $(enabled_units); do
    case " $(echo $before) " in
        *" $unit "*) ;;
        *) $as_root systemctl disable --quiet "$unit" 2>/dev/null || true ;;
    esac
done
