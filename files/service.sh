# shellcheck shell=sh
# NAME
#   service.sh - Postfix as this system starts and stops it: now, and at boot
# SYNOPSIS
#   put between common.sh and the text of another program; never run by itself
# DESCRIPTION
#   Which service manager there is follows from what runs, not from what is installed: a container may have the programs
#   of one that nobody started. Without any, Postfix is started by its own command.

# service_manager - print systemd, rcctl (OpenBSD), openrc, rc.d (FreeBSD), init.d, or none.
service_manager() {
    if [ -d /run/systemd/system ]; then
        echo systemd
    elif command -v rcctl >/dev/null; then
        echo rcctl
    elif [ -d /run/openrc ] && command -v rc-service >/dev/null; then
        echo openrc
    elif [ -x /usr/local/etc/rc.d/postfix ] && command -v service >/dev/null; then
        echo rc.d
    elif [ -x /etc/init.d/postfix ] && ! command -v rc-service >/dev/null; then
        echo init.d
    else
        echo none
    fi
}

# with_service_manager start|stop - start or stop Postfix the way this system would, enabled at boot or not.
with_service_manager() {
    case $(service_manager) in
        systemd) systemctl "$1" postfix ;;
        rcctl) rcctl -f "$1" postfix ;;
        openrc)
            # It goes by what it did last, and starts nothing twice.
            [ "$1" != start ] || rc-service postfix zap
            rc-service postfix "$1"
            ;;
        rc.d) service postfix "one$1" ;;
        init.d) /etc/init.d/postfix "$1" ;;
        none) postfix -c "$PWD" "$1" ;;
    esac
}

# at_boot enable|disable - have this system start Postfix at boot, or not.
at_boot() {
    case $(service_manager):$1 in
        systemd:*) systemctl "$1" postfix ;;
        rcctl:*) rcctl "$1" postfix ;;
        openrc:enable) rc-update add postfix default ;;
        openrc:disable) [ ! -e /etc/runlevels/default/postfix ] || rc-update del postfix default ;;
        rc.d:enable) sysrc postfix_enable=YES ;;
        rc.d:disable) sysrc postfix_enable=NO ;;
        init.d:*)
            if command -v update-rc.d >/dev/null; then
                update-rc.d postfix "$1"
            elif [ "$1" = enable ]; then
                chkconfig postfix on
            else
                chkconfig postfix off
            fi
            ;;
        none:*) ;;
    esac
}
