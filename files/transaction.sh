# shellcheck shell=sh
# NAME
#   transaction.sh - what a change on a host is made of: one who decides about it, what Postfix reads, and the way back
# SYNOPSIS
#   put after common.sh and service.sh, before the text of activate.sh or settle.sh; never run by itself
# DESCRIPTION
#   The programs that use it have set: $token, the run; $generation, what was live before the change; $changed, the names
#   of what it replaces or removes; $daemons and $queue (find_postfix); $scratch, a directory for what programs say.
#   The journal lies there from before the first rename until the change is confirmed or undone. It has a line for each:
#   generation N, token TOKEN, since SECONDS (since 1970), service ACTION, deferred MESSAGES, cross FROM TO, note TEXT, changes NAME;
#   then "late yes" when routes have gone, "applied yes" when all of it is live and answers, and "verdict inconclusive"
#   when it was kept though nothing proved it.

generations=$PRIVATE/generations

# journal_value KEY - print what the journal says of KEY; nothing without a journal.
journal_value() {
    value_in "$PRIVATE/journal" "$1"
}

# is_unsettled - whether the journal is of this run and still waits for somebody to confirm or undo it.
is_unsettled() {
    [ "$(journal_value token)" = "$token" ] && [ -z "$(journal_value verdict)" ]
}

# claim PID - become the only one who works on what the journal says, or fail after a minute of another who does.
# A hard link appears with its content or not at all, and fails where a claim is already. unclaim ends it.
claim() {
    claimed=$1
    printf '%s\n' "$1" >"$PRIVATE/settling.$1" || return 1
    tries=60
    until ln "$PRIVATE/settling.$1" "$PRIVATE/settling" 2>/dev/null; do
        other=
        read -r other 2>/dev/null <"$PRIVATE/settling" || :
        if is_at_work "$other"; then
            sleep 1
        else
            # It died while it was at work.
            rm -f "$PRIVATE/settling" "$PRIVATE/settling.$other"
        fi
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || break
    done
    [ "$tries" -gt 0 ] || rm -f "$PRIVATE/settling.$1"
    [ "$tries" -gt 0 ]
}

# unclaim [PATH...] - let others work on it, and remove what else is over with that.
unclaim() {
    rm -rf "$PRIVATE/settling" "$PRIVATE/settling.$claimed" "$@"
}

# is_primary - whether this is the instance of the configuration directory that is compiled in.
is_primary() {
    [ "$PWD" = "$(postconf -d -h config_directory)" ]
}

# is_disabled - whether this is one of several instances, and not to be started (postmulti(1)).
is_disabled() {
    [ "$(postconf -c "$PWD" -h multi_instance_enable)" = no ] || return 1
    ! is_primary || [ -n "$(postconf -c "$PWD" -h multi_instance_wrapper)" ]
}

# has_others - whether this host has further instances: what starts and stops Postfix there does that to all of them.
has_others() {
    ! is_primary || [ -n "$(postconf -c "$PWD" -h multi_instance_directories)" ]
}

# alone ACTION - start or stop this instance, and no other. At the same moment another one may be about to give up the
# addresses that this one is to listen on.
alone() {
    tries=10
    until alone_at_once "$1"; do
        [ "$1" = start ] && [ "$tries" -gt 0 ] || return
        tries=$((tries - 1))
        sleep 1
    done
}

# alone_at_once ACTION - do that without waiting for anybody. Debian has a unit for each instance, and a program that
# fills the jail of its daemons before it starts.
alone_at_once() {
    name=$(postconf -c "$PWD" -h multi_instance_name)
    ! is_primary || name=-
    if [ -n "$name" ] && ! is_disabled && [ -d /run/systemd/system ] && systemctl cat "postfix@$name" >/dev/null 2>&1; then
        systemctl "$1" "postfix@$name"
        return
    fi
    fill=/usr/lib/postfix/configure-instance.sh
    [ "$1" != start ] || [ -z "$name" ] || [ ! -x "$fill" ] || "$fill" "$name" || return
    postfix -c "$PWD" "$1"
}

# this_instance start|stop - start or stop Postfix the way this system would, and nothing else that runs here.
this_instance() {
    if has_others; then
        alone "$1"
    else
        with_service_manager "$1"
    fi
}

# wait_for yes|no - wait until the master process runs, or has gone, for at most 15 seconds.
wait_for() {
    tries=15
    while :; do
        if master_runs; then is=yes; else is=no; fi
        [ "$is" != "$1" ] || return 0
        [ "$tries" -gt 0 ] || return 1
        tries=$((tries - 1))
        sleep 1
    done
}

# stop - stop Postfix, also one that its service manager knows nothing of.
stop() {
    this_instance stop || :
    ! master_runs || postfix -c "$PWD" stop
    wait_for no
}

# reload - have the running master read everything anew. "postfix reload" ends in sending it that signal (master(8)); what
# it does before, at the price of a dozen processes, is to refuse a main.cf that cannot be read, with which a master ends.
# Where main.cf stays the one that is loaded the signal is all.
reload() {
    for name in $changed; do
        [ "$name" != main.cf ] || { postfix -c "$PWD" reload && return || return; }
    done
    # As master_runs has found it.
    kill -HUP "$process"
}

# serve none|reload|restart|start|stop - make Postfix read what is live. A stopped Postfix is always started, but an
# instance that is disabled. On the way back the same actions are asked for: what the change started is stopped where it
# is disabled without it, and what it was to stop goes on.
serve() {
    action=$1
    if ! master_runs; then
        ! is_disabled || return 0
        action=start
    elif [ "$action" = start ] || [ "$action" = stop ]; then
        if is_disabled; then action=stop; else action=restart; fi
    fi
    case $action in
        none) return 0 ;;
        reload) reload ;;
        restart) stop && this_instance start ;;
        start) this_instance start ;;
        stop) stop ;;
    esac >"$scratch/said" 2>&1 </dev/null || {
        cat "$scratch/said"
        return 1
    }
    [ "$action" = stop ] || wait_for yes
}

# look_anew FILTER - where mail was taken for a content filter that main.cf does not name any more, have Postfix look at all
# that is queued anew: the filter stands in each message, and nothing takes mail there now. FILTER is as value_in has it.
look_anew() {
    [ -z "$1" ] || [ "$1" = "$(value_in main.cf content_filter)" ] || {
        # pickup(8) looks by itself once a minute.
        postsuper -c "$PWD" -r ALL && postkick -c "$PWD" public pickup W
    } >/dev/null 2>&1 || :
}

# saved_generations - print the numbers of the saved generations.
saved_generations() {
    for path in "$generations"/*; do
        case ${path##*/} in
            *[!0-9]*) ;;
            *) printf '%s\n' "${path##*/}" ;;
        esac
    done
}

# copy FILE COPY - copy a file; where there is no room for that, a second name for it will do.
copy() {
    cp -p "$1" "$2" 2>/dev/null && return 0
    rm -f "$2"
    ln "$1" "$2"
}

# cross TYPE TABLES MAIN-CF - have the tables read from elsewhere, so that those in place can become ones of another type
# with the same file names: who opens a table of the one as the other fails. TABLES is a directory of them.
cross() {
    changed="$changed main.cf"
    mkdir -p "$PRIVATE/crossing.$1" && mv -f "$2"/*.db "$PRIVATE/crossing.$1/" && mv -f "$3" main.cf && serve reload
}

# cross_back - the same on the way back, with the tables as saved.
cross_back() {
    types=$(journal_value cross)
    [ -n "$types" ] || return 0
    mkdir -p "$PRIVATE/restore/crossing" || return 1
    for name in $TABLES; do
        [ ! -f "$saved/$name.db" ] || copy "$saved/$name.db" "$PRIVATE/restore/crossing/$name.db" || return 1
    done
    ls "$PRIVATE"/restore/crossing/*.db >/dev/null 2>&1 || return 0
    crossing_main_cf "${types% *}" "${types% *}" "$PRIVATE/restore/crossing" <"$saved/main.cf" >"$PRIVATE/restore/crossing.cf" &&
        chmod 0644 "$PRIVATE/restore/crossing.cf" && touch -r "$saved/main.cf" "$PRIVATE/restore/crossing.cf" || return 1
    # What is no table is not read from elsewhere.
    [ -n "$(journal_value late)" ] || [ -f "$saved/relaydomains.db" ] || put_back relaydomains || return 1
    cross "${types% *}" "$PRIVATE/restore/crossing" "$PRIVATE/restore/crossing.cf"
}

# put_back NAME... - rename copies of saved files into place. What the change left alone is left alone, and what was not
# there stays until nothing reads it.
put_back() {
    for name in "$@"; do
        if grep -q "^changes $name\$" "$PRIVATE/journal" && [ -f "$saved/$name" ]; then
            copy "$saved/$name" "$PRIVATE/restore/$name" && mv -f "$PRIVATE/restore/$name" "$name" || return 1
        fi
    done
}

# put_missing_back - put back the tables that nothing reads yet, as they are of another type or of a list.
put_missing_back() {
    for missing in $changed; do
        [ -e "$missing" ] || put_back "$missing" || return 1
    done
}

# put_routes_back - put back the tables, but what accepts mail.
put_routes_back() {
    for route in $changed; do
        case $route in relaydomains | relaydomains.*) continue ;; esac
        ! is_table "$route" || put_back "$route" || return 1
    done
}

# put_lists_back - put back what Postfix reads once, but what accepts mail.
put_lists_back() {
    for list in $changed; do
        [ "$list" = main.cf ] || is_table "$list" || put_back "$list" || return 1
    done
}

# is_table NAME - whether a file is an indexed table, or the source of one.
is_table() {
    case " $TABLES " in *" ${1%.?*} "*) ;; *) return 1 ;; esac
}

# put_acceptance_back - put back what accepts mail, and have it read. main.cf never calls relaydomains a list while it has
# the form of a table's source.
put_acceptance_back() {
    if is_bootstrapping; then
        # What the package came with never serves.
        stop >"$scratch/said" 2>&1 </dev/null || return 1
    fi
    put_lists_back || return 1
    put_back relaydomains.db relaydomains.lmdb relaydomains.cdb relaydomains.dir relaydomains.pag || return 1
    if ls "$saved"/relaydomains.* >/dev/null 2>&1; then
        put_back main.cf relaydomains || return 1
    else
        put_back relaydomains main.cf || return 1
    fi
    ! is_bootstrapping || return 0
    action=$(journal_value service)
    [ "${action:-none}" != none ] || action=reload
    serve "$action"
}

# put_records_back - what Postfix has loaded is again what it was then. Where that cannot be written it is forgotten,
# and the next run has everything loaded anew.
put_records_back() {
    # A change that was cut off may just have taken it away.
    [ ! -f "$saved/manifest" ] || mkdir -p "$PRIVATE/loaded" || return 1
    for name in $FILES; do
        was=$saved/loaded/$name
        [ -f "$was" ] || was=$saved/$name
        # What was not managed then was not loaded by us, though it is kept.
        ! is_shared "$name" || grep -q " $name\$" "$saved/manifest" 2>/dev/null || continue
        if [ -f "$was" ] && [ -d "$PRIVATE/loaded" ]; then
            copy "$was" "$PRIVATE/restore/$name" || return 1
            mv -f "$PRIVATE/restore/$name" "$PRIVATE/loaded/$name" || return 1
        fi
    done
    if [ -f "$saved/manifest" ] && copy "$saved/manifest" "$PRIVATE/restore/manifest"; then
        mv -f "$PRIVATE/restore/manifest" "$PRIVATE/manifest"
    else
        rm -f "$PRIVATE/manifest"
    fi
}

# restore - put the saved generation back, by rename as well, and have it read. Of what was added the acceptance goes
# before the route; where routes have gone already, they come back before their domains are accepted again.
# Called as a condition, where a shell ignores set -e: every step says || return.
restore() {
    saved=$generations/$generation
    [ -d "$saved" ] || return 1
    [ -d "$PRIVATE/restore" ] || mkdir "$PRIVATE/restore" || return 1
    changed=$(sed -n 's/^changes //p' "$PRIVATE/journal") || return 1
    filter=$(value_in main.cf content_filter)
    put_missing_back || return 1
    # Where there is no room for that, tables that cannot be read for a moment are the lesser evil.
    cross_back || :
    # Tables that are read from elsewhere are put back while nobody opens those in place.
    if [ -n "$(journal_value late)" ] || ls -d "$PRIVATE"/crossing.* >/dev/null 2>&1; then
        put_routes_back && put_acceptance_back || return 1
    else
        put_acceptance_back && put_routes_back || return 1
    fi
    look_anew "$filter"
    for name in $changed; do
        [ -f "$saved/$name" ] || rm -f "$name" || return 1
    done
    put_records_back || return 1
    rm -rf "$PRIVATE/restore" "$PRIVATE"/crossing.* "$PRIVATE"/*.new
}

# go_back REASON - restore, and settle the change with that. What is live again is no longer the past; only what was
# there before us is kept in any case.
go_back() {
    if restore && rm -f "$PRIVATE/journal"; then
        note_in_syslog "restored generation $generation: $1"
        [ "$generation" = 0 ] || rm -rf "${generations:?}/$generation"
        return 0
    fi
    note_in_syslog "generation $generation could not be restored ($1)"
    return 1
}

# undo REASON - go back, and end saying whether that worked.
undo() {
    if go_back "$1"; then
        ! is_bootstrapping || fail 14 "$1; Postfix was stopped again"
        fail 14 "$1; generation $generation was put back and is live"
    fi
    fail 15 "$1; putting generation $generation back FAILED too:" \
        "$(tr '\n' ' ' <"$scratch/said"); the journal stays, look at this host now"
}
