# shellcheck shell=sh
# NAME
#   install.sh - install Postfix with this system's package manager, so that it neither starts now nor at boot
# SYNOPSIS
#   install.sh survey
#   install.sh install HOLDER [NAME...]
# DESCRIPTION
#   survey changes nothing. It prints a record a line, the last one being "end":
#     system NAME; manager NAME (of the package manager); state bare, begun (an installation of ours was stopped),
#     installed (by us, and no change was ever confirmed) or present (by somebody else: nothing of the rest follows);
#     candidate VERSION (none where what the host has fetched knows none);
#     removes NAME (a package, or a service of the base system, that makes room for Postfix);
#     refused REASON (Postfix cannot be installed).
#   install does it, for HOLDER. NAME... may be removed for it; what else would be keeps it from beginning.
#   .mailproxy/bootstrap says since when, for whom, and which version was "installed"; it goes when a change is confirmed
#   (settle.sh). Debian's packages start what they install unless /usr/sbin/policy-rc.d forbids it: one that does lies
#   there for that time, and what was there before lies in .mailproxy/policy-rc.d. An installation that was killed leaves
#   these, and the next one puts them in order. Once begun it goes on to its end, even when the connection is gone.
# EXIT STATUS
#   see common.sh: 0, 10, 11, 13, 69

policy=/usr/sbin/policy-rc.d
policy_mark='# Put here by mailproxy while it installs Postfix, which is not to start with it.'

# found_manager - print the name of this system's package manager, or fail.
found_manager() {
    case $(uname -s) in
        OpenBSD) echo pkg_add && return ;;
        FreeBSD | DragonFly) echo pkg && return ;;
    esac
    for name in apt-get dnf yum apk zypper pacman; do
        ! command -v "$name" >/dev/null || { echo "$name" && return; }
    done
    return 1
}

# apt WORD... - apt-get, asking nobody anything.
apt() {
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -y -o DPkg::Lock::Timeout=120 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold --no-install-recommends "$@"
}

# apt_simulated - what apt would do. Without its caches, as it would write them.
apt_simulated() {
    apt -s -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= install postfix
}

# package candidate|removes|refresh|install - print the version there is, or what would be removed for it; fetch what is
# known of packages, or install it. Where removes is missing, the manager removes nothing by itself.
package() {
    case $manager:$1 in
        apt-get:candidate) apt_simulated | sed -n 's/^Inst postfix [^(]*(\([^ ]*\) .*/\1/p' ;;
        apt-get:removes) apt_simulated | sed -n 's/^Remv \([^ ]*\) .*/\1/p' ;;
        apt-get:refresh) apt update ;;
        apt-get:install)
            echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections || return 1
            # What was killed in the middle.
            [ "$state" = bare ] || DEBIAN_FRONTEND=noninteractive dpkg --configure -a
            apt install postfix
            ;;
        apk:candidate) apk add --simulate postfix | sed -n 's/^(.*) Installing postfix (\(.*\))$/\1/p' ;;
        apk:removes) apk add --simulate postfix | sed -n 's/^(.*) Purging \([^ ]*\) .*/\1/p' ;;
        apk:refresh) apk update ;;
        apk:install) apk add postfix ;;
        dnf:candidate) dnf -q -C list --available postfix | awk '$1 ~ /^postfix\./ { print $2 }' ;;
        yum:candidate) yum -q -C list available postfix | awk '$1 ~ /^postfix\./ { print $2 }' ;;
        dnf:install | yum:install) "$manager" -q -y install postfix ;;
        zypper:candidate) zypper -n --no-refresh info postfix | sed -n 's/^Version *: *//p' ;;
        zypper:install) zypper -n install --no-recommends postfix ;;
        pacman:candidate) pacman -Si postfix | sed -n 's/^Version *: *//p' ;;
        pacman:install) pacman -S --noconfirm --needed postfix ;;
        pkg_add:candidate) pkg_info -Q postfix | sed -n 's/^postfix-\([0-9][^ ]*\).*/\1/p' | head -n 1 ;;
        pkg_add:removes) ! rcctl get smtpd status >/dev/null || echo smtpd ;;
        pkg_add:install) pkg_add -I postfix--%stable ;;
        pkg:candidate) pkg rquery -U %v postfix ;;
        pkg:removes) ! service sendmail onestatus >/dev/null || echo sendmail ;;
        pkg:refresh) ASSUME_ALWAYS_YES=yes pkg update -q ;;
        pkg:install) ASSUME_ALWAYS_YES=yes pkg install -y postfix ;;
    esac
}

# make_room - turn off services of the base system, and have its sendmail(8) be Postfix's.
make_room() {
    case $manager in pkg_add | pkg) ;; *) return 0 ;; esac
    for name in $(package removes 2>/dev/null); do
        case $name in
            smtpd) rcctl stop smtpd && rcctl disable smtpd || return 1 ;;
            sendmail) service sendmail onestop && sysrc sendmail_enable=NONE || return 1 ;;
        esac
    done
    case $manager in
        pkg_add) postfix-enable ;;
        pkg) mkdir -p /usr/local/etc/mail && cp /usr/local/share/postfix/mailer.conf.postfix /usr/local/etc/mail/mailer.conf ;;
    esac
}

# port_25_is_held - whether somebody listens there.
port_25_is_held() {
    if [ -r /proc/net/tcp ]; then
        cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q '^ *[0-9]*: [0-9A-F]*:0019 [0-9A-F:]* 0A '
    else
        netstat -an | grep -q '[.:]25 .*LISTEN'
    fi
}

# port_25_holder - print who that is, as far as it can be told.
port_25_holder() {
    name=$(ss -Hltnp 'sport = :25' 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)".*/\1/p' | head -n 1)
    printf '%s\n' "${name:-another program}"
}

# look - set what the rest goes by: $manager, $directory, $state.
look() {
    manager=$(found_manager) || manager=
    directory=/etc/postfix state=bare
    [ "$manager" != pkg ] || directory=/usr/local/etc/postfix
    if [ -f "$directory/$PRIVATE/bootstrap" ]; then
        state=begun
        ! grep -q '^installed ' "$directory/$PRIVATE/bootstrap" || state=installed
    elif command -v postconf >/dev/null; then
        state=present
    fi
}

# refusals CANDIDATE REMOVED - print why Postfix cannot be installed.
refusals() {
    [ "$(id -u)" = 0 ] || echo "refused runs as uid $(id -u), expected root: connect as root, or set _sudo or _doas"
    [ -n "$manager" ] || echo 'refused found none of the package managers apt-get, dnf, yum, apk, zypper, pacman, pkg_add, pkg'
    if [ "$state" = bare ] && [ -f "$directory/main.cf" ]; then
        echo "refused it has a $directory/main.cf without a Postfix: move it away, or install Postfix by hand and roll out"
    fi
    if [ -z "$2" ] && port_25_is_held && ! ours_runs; then
        way_out="which $manager would not remove: stop and disable it"
        [ "$1" != none ] || way_out="and $manager does not know Postfix yet, nor what it replaces: have it fetch its lists first"
        echo "refused port 25 is held by $(port_25_holder), $way_out"
    fi
}

# ours_runs - whether it is our own Postfix that runs, not confirmed yet.
ours_runs() (
    [ "$state" = installed ] && cd "$directory" && find_compiled_postfix && master_runs
)

# survey - print what there is.
survey() {
    name=$(sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' /etc/os-release 2>/dev/null | head -n 1)
    printf 'system %s\nmanager %s\nstate %s\n' "${name:-$(uname -sr)}" "${manager:-none}" "$state"
    removed=
    case $state in
        present) echo end && return ;;
        installed) candidate=$(postconf -d -h mail_version) ;;
        *)
            candidate=$(package candidate 2>/dev/null | tail -n 1)
            removed=$(package removes 2>/dev/null || :)
            [ -z "$removed" ] || printf '%s\n' "$removed" | sed 's/^/removes /'
            ;;
    esac
    printf 'candidate %s\n' "${candidate:=none}"
    refusals "$candidate" "$removed"
    echo end
}

# begin HOLDER - leave word of what is begun, or fail where another is at it.
begin() {
    (umask 022 && mkdir -p "$directory")
    cd "$directory" || fail 69 "cannot enter $directory; nothing was touched"
    [ -d "$PRIVATE" ] || mkdir -m 0700 "$PRIVATE"
    mine=$PRIVATE/bootstrap.$$
    printf 'since %s\nholder %s\npid %s\n' "$(date +%s)" "$1" "$$" >"$mine"
    if ! ln "$mine" "$PRIVATE/bootstrap" 2>/dev/null; then
        if is_at_work "$(sed -n 's/^pid //p' "$PRIVATE/bootstrap")"; then
            rm -f "$mine"
            fail 10 "locked: $(sed -n 's/^holder //p' "$PRIVATE/bootstrap") is installing Postfix on this host"
        fi
        mv -f "$mine" "$PRIVATE/bootstrap"
    fi
    rm -f "$PRIVATE"/bootstrap.*
}

# hold_back - have Debian's packages start no Postfix. What else they start and stop is left to what was there before.
hold_back() {
    [ "$manager" = apt-get ] || return 0
    put_policy_back
    if [ -e "$policy" ] || [ -L "$policy" ]; then
        cp -pP "$policy" "$PRIVATE/policy-rc.d.new" && mv -f "$PRIVATE/policy-rc.d.new" "$PRIVATE/policy-rc.d" || return 1
    fi
    saved=$PWD/$PRIVATE/policy-rc.d
    {
        printf '#!/bin/sh\n%s\n' "$policy_mark"
        printf 'case " $* " in *" postfix "* | *" postfix.service "* | *" postfix@"*) exit 101 ;; esac\n'
        printf '[ ! -x %s ] || exec %s "$@"\n' "$saved" "$saved"
    } >"$PRIVATE/policy-rc.d.new" && chmod 755 "$PRIVATE/policy-rc.d.new" && mv -f "$PRIVATE/policy-rc.d.new" "$policy"
}

# put_policy_back - what forbids starts is again what it was.
put_policy_back() {
    saved=$PRIVATE/policy-rc.d
    if [ -f "$policy" ] && grep -qF "$policy_mark" "$policy"; then
        if [ -e "$saved" ] || [ -L "$saved" ]; then mv -f "$saved" "$policy"; else rm -f "$policy"; fi
    fi
    rm -f "$saved" "$saved.new"
}

# finish - leave no trace of ours but what the next run needs: nothing where nothing was installed.
finish() {
    status=$?
    trap - EXIT
    put_policy_back
    rm -f "$PRIVATE/said"
    if [ "$status" -ne 0 ] && ! command -v postconf >/dev/null; then
        rm -f "$PRIVATE/bootstrap"
        rmdir "$PRIVATE" "$directory" 2>/dev/null || :
    fi
    exit "$status"
}

# said - print the end of what a program said, on one line.
said() {
    tail -n 4 "$PRIVATE/said" | tr '\n' ' '
}

# refuse_unless_approved NAME... - nothing is removed but what was agreed to.
refuse_unless_approved() {
    for name in $(package removes 2>/dev/null); do
        case " $* " in
            *" $name "*) ;;
            *) fail 11 "$manager would remove $name for it, which was not reviewed: run again; nothing was installed" ;;
        esac
    done
}

# keep_down - whatever its package had done, Postfix neither runs nor starts at boot.
keep_down() {
    at_boot disable >"$PRIVATE/said" 2>&1 </dev/null || fail 13 "it is installed, but may start at boot: $(said)"
    find_compiled_postfix
    if master_runs; then
        with_service_manager stop >/dev/null 2>&1 || postfix -c "$PWD" stop >/dev/null 2>&1 || :
        echo 'its package started Postfix as it comes, which was stopped at once'
    fi
}

# install HOLDER NAME... - do it.
install() {
    begin "$1"
    shift
    trap finish EXIT
    trap '' HUP INT TERM PIPE
    package refresh >"$PRIVATE/said" 2>&1 </dev/null || :
    refuse_unless_approved "$@"
    hold_back || fail 13 "$policy could not be put in place; nothing was installed"
    (umask 022 && package install) >"$PRIVATE/said" 2>&1 </dev/null || fail 13 "$manager could not install it: $(said)"
    command -v postconf >/dev/null || fail 13 "$manager installed no postconf in $PATH: $(said)"
    keep_down
    make_room >"$PRIVATE/said" 2>&1 </dev/null || fail 13 "it is installed, but another mail server stays: $(said)"
    if [ ! -f master.cf ]; then
        cp master.cf.proto master.cf 2>/dev/null || cp /usr/share/postfix/master.cf.dist master.cf 2>/dev/null ||
            fail 13 'it is installed, but its package has no master.cf'
    fi
    ! port_25_is_held || fail 13 "it is installed, but port 25 is held by $(port_25_holder): stop and disable that"
    version=$(postconf -d -h mail_version)
    echo "installed $version" >>"$PRIVATE/bootstrap"
    note_in_syslog "installed Postfix $version, which is not started yet"
    echo "installed Postfix $version, not started"
}

what=$1
shift
look
case $what in
    survey) survey ;;
    install) install "$@" ;;
    *) fail 64 "asked to $what, expected survey or install" ;;
esac
