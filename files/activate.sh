# shellcheck shell=sh
# NAME
#   activate.sh - put the staged change in place of the live files, or put everything back
# SYNOPSIS
#   activate.sh DIRECTORY TOKEN
# DESCRIPTION
#   Works off the records that stage.sh kept in .mailproxy/stage.TOKEN/change, in their order: "swap STAGED NAME" renames
#   a staged file into place, "service none|reload|restart|start" makes Postfix read it, "drop NAME" removes a
#   table that nothing uses any more, "query TYPE NAME KEY VALUE" asks a live table. Before the first rename
#   the live files are copied to .mailproxy/generations/N and the journal says so; where a journal is there
#   already, an earlier run was interrupted, and its generation is the one to go back to.
#   Once begun it goes on to its end, success or restoration, even when the connection is gone.
# EXIT STATUS
#   see common.sh: 0, 10, 11, 14, 15, 64

directory=$1 token=$2
stage=$PRIVATE/stage.$token
generations=$PRIVATE/generations
KEPT=10

# records WORD - print the arguments of the staged records of that kind.
records() {
    sed -n "s/^$1 //p" "$stage/change"
}

# refuse_unless_ready - the stage must be ours and checked, and the live files as the review saw them.
refuse_unless_ready() {
    [ "$(lock_value token)" = "$token" ] ||
        fail 10 "the lock is no longer ours but $(lock_value holder)'s; nothing was touched"
    [ "$(cat "$stage/checked" 2>/dev/null)" = "$token" ] || fail 64 'nothing is staged; nothing was touched'
    live_digests >"$stage/now"
    cmp -s "$stage/live" "$stage/now" ||
        fail 11 "changed on the host since it was staged: $(diff "$stage/live" "$stage/now" |
            sed -n 's/^[<>] [0-9a-f]* //p' | sort -u | tr '\n' ' '); nothing was touched"
}

# saved_generations - print the numbers of the saved generations in ascending order.
saved_generations() {
    for path in "$generations"/*; do
        case ${path##*/} in
            *[!0-9]*) ;;
            *) printf '%s\n' "${path##*/}" ;;
        esac
    done | sort -n
}

# save_generation - copy what is live to the next number and print that number.
# Copies, not links: a table that keeps a name is not seen as replaced by running daemons, and a file
# that is edited in place later would change its own past.
save_generation() {
    last=$(saved_generations | tail -n 1)
    number=$((${last:--1} + 1))
    rm -rf "$generations/new"
    mkdir -p "$generations/new" || return 1
    for name in $(live_names); do
        cp -p "$name" "$generations/new/$name" || return 1
    done
    [ ! -f "$PRIVATE/manifest" ] || cp -p "$PRIVATE/manifest" "$generations/new/manifest" || return 1
    mv "$generations/new" "$generations/$number" || return 1
    printf '%s\n' "$number"
}

# begin - make sure that a generation to return to is saved and that the journal names it.
begin() {
    generation=$(sed -n 's/^generation //p' "$PRIVATE/journal" 2>/dev/null) || :
    if [ -z "$generation" ] || [ ! -d "$generations/$generation" ]; then
        generation=$(save_generation) || fail 13 'what is live could not be saved; nothing was touched'
    fi
    {
        printf 'generation %s\ntoken %s\nsince %s\n' "$generation" "$token" "$(date +%s)"
        records note | sed 's/^/note /'
    } >"$PRIVATE/journal.new"
    mv -f "$PRIVATE/journal.new" "$PRIVATE/journal"
}

# with_service_manager ACTION - start or stop Postfix the way this system would.
with_service_manager() {
    if [ -d /run/systemd/system ]; then
        systemctl "$1" postfix
    elif command -v rcctl >/dev/null; then
        rcctl "$1" postfix
    elif [ -x /etc/init.d/postfix ]; then
        /etc/init.d/postfix "$1"
    else
        postfix -c "$PWD" "$1"
    fi
}

# wait_for yes|no - wait until the master process runs, or has gone, for at most 15 seconds.
wait_for() {
    tries=15
    while :; do
        if master_runs "$daemons"; then is=yes; else is=no; fi
        [ "$is" != "$1" ] || return 0
        [ "$tries" -gt 0 ] || return 1
        tries=$((tries - 1))
        sleep 1
    done
}

# stop - stop Postfix, also one that its service manager knows nothing of.
stop() {
    with_service_manager stop || :
    ! master_runs "$daemons" || postfix -c "$PWD" stop
    wait_for no
}

# serve none|reload|restart|start - make Postfix read what is live. A stopped Postfix is always started.
serve() {
    action=$1
    if [ "$action" != start ] && ! master_runs "$daemons"; then
        action=start
    fi
    case $action in
        none) return 0 ;;
        reload) postfix -c "$PWD" reload ;;
        restart) stop && with_service_manager start ;;
        start) with_service_manager start ;;
    esac >"$stage/said" 2>&1 </dev/null || return 1
    wait_for yes
}

# queued_for_gone - print how many recipients the queue holds for the domains whose routes go, "unknown" where it cannot
# be read.
queued_for_gone() {
    records gone >"$stage/gone"
    [ -s "$stage/gone" ] || { echo 0 && return; }
    postqueue -c "$PWD" -p >"$stage/queue" || { echo unknown && return; }
    awk -v gone="$stage/gone" '
        BEGIN { while ((getline domain <gone) > 0) wanted[domain] }
        /^ +[^ (].*@/ { domain = tolower($0); sub(/.*@/, "", domain); sub(/[ \t]*$/, "", domain); if (domain in wanted) count++ }
        END { print count + 0 }' "$stage/queue"
}

# after_service - Postfix refuses the removed domains from here on; mail that it took before keeps their routes.
after_service() {
    : >"$stage/served"
    count=$(queued_for_gone) || return 1
    [ "$count" = 0 ] || printf '%s\n' "$count" >"$stage/waiting"
}

# swap STAGED NAME - rename a staged file into place. A mark tells restore that routes have gone already, which they
# only do after Postfix has read the rest.
swap() {
    [ ! -e "$stage/waiting" ] || return 0
    mv -f "$stage/$1" "$2" || return 1
    [ ! -e "$stage/served" ] || : >"$stage/late"
}

# apply - work off the records; a failure says where it stopped.
apply() {
    while read -r word one two three rest; do
        : >"$stage/said"
        case $word in
            swap) swap "$one" "$two" ;;
            drop) rm -f "$one" ;;
            service) serve "$one" && after_service ;;
            query) answers "$one" "$two" "$three" "$rest" ;;
            *) : ;;
        esac >>"$stage/said" 2>&1 </dev/null || {
            printf '%s %s %s %s: %s\n' "$word" "$one" "$two" "$three" "$(tr '\n' ' ' <"$stage/said")"
            return 1
        }
    done <"$stage/change"
}

# answers TYPE NAME KEY WORD... - whether the live table answers "hit VALUE", or "miss", as intended.
answers() {
    if [ "$4" = miss ] && [ -e "$stage/waiting" ]; then
        return 0
    fi
    said=$(postmap -c "$PWD" -q "$3" "$1:$PWD/$2") && found="hit $said" || found=miss
    [ "$found" = "$4" ] || {
        printf '%s answered %s, expected %s' "$3" "$found" "$4"
        return 1
    }
}

# write_manifest - record what the running Postfix has loaded, with a copy of the sources: what differs from it later
# is somebody else's hand.
write_manifest() {
    live_digests >"$stage/now" || return 1
    mkdir -p "$PRIVATE/loaded" || return 1
    for name in $FILES; do
        [ ! -f "$name" ] || printf '%s\n' "$name"
    done >"$stage/sources"
    # The names are ours and hold no blanks: splitting is wanted.
    # shellcheck disable=SC2046
    cp $(cat "$stage/sources") "$PRIVATE/loaded/" || return 1
    {
        # The last line tells a whole manifest from one that was cut off.
        sed 's/^/file /' "$stage/now" && sed -n -e '/^loaded /p' -e '/^record /p' "$stage/change" &&
            printf 'record generation %s\nrecord activated %s\n' $((generation + 1)) "$(date +%s)" && echo end
    } >"$PRIVATE/manifest.new" &&
        mv -f "$PRIVATE/manifest.new" "$PRIVATE/manifest"
}

# put_back NAME - rename a copy of a saved file, if there is one, into place.
put_back() {
    [ -f "$saved/$1" ] || return 0
    cp -p "$saved/$1" "$PRIVATE/restore/$1" && mv -f "$PRIVATE/restore/$1" "$1"
}

# put_routes_back - put back everything but what accepts mail.
put_routes_back() {
    for path in "$saved"/*; do
        case ${path##*/} in
            '*' | manifest | relaydomains | main.cf) ;;
            *) put_back "${path##*/}" || return 1 ;;
        esac
    done
}

# put_acceptance_back - put back what accepts mail, and have it read.
put_acceptance_back() {
    put_back relaydomains && put_back main.cf || return 1
    action=$(records service)
    [ "$action" != none ] || action=reload
    serve "$action"
}

# restore - put the saved generation back, by rename as well, and have it read. Of what was added the acceptance goes
# before the route; where routes have gone already, they come back before their domains are accepted again.
# Called as a condition, where a shell ignores set -e: every step says || return.
restore() {
    saved=$generations/$generation
    rm -rf "$PRIVATE/restore"
    mkdir "$PRIVATE/restore" || return 1
    if [ -e "$stage/late" ]; then
        put_routes_back && put_acceptance_back || return 1
    else
        put_acceptance_back && put_routes_back || return 1
    fi
    for name in $(live_names); do
        [ -f "$saved/$name" ] || rm -f "$name" || return 1
    done
    rm -rf "$PRIVATE/restore"
    if [ -f "$saved/manifest" ]; then
        cp -p "$saved/manifest" "$PRIVATE/manifest.new" && mv -f "$PRIVATE/manifest.new" "$PRIVATE/manifest"
    else
        rm -f "$PRIVATE/manifest"
    fi
}

# undo REASON - restore, and end saying whether that worked.
undo() {
    if restore; then
        rm -f "$PRIVATE/journal"
        fail 14 "activation failed at: $1; generation $generation was put back and is live"
    fi
    fail 15 "activation failed at: $1; putting generation $generation back FAILED too:" \
        "$(tr '\n' ' ' <"$stage/said"); the journal stays, look at this host now"
}

# finish - whatever happened, the stage and the lock of this run are over.
finish() {
    status=$?
    trap - EXIT
    rm -rf "$stage"
    release_lock "$token"
    exit "$status"
}

# prune - keep generation 0, what was there before us, and the last ones.
prune() {
    saved_generations | sed 1d | sort -rn | sed "1,${KEPT}d" | while read -r number; do
        rm -rf "${generations:?}/$number"
    done
}

cd "$directory" || fail 69 "cannot enter $directory; nothing was touched"
daemons=$(postconf -d -h daemon_directory)
trap '' HUP INT TERM PIPE
trap finish EXIT
refuse_unless_ready
mine=$(write_lock "$token" "$(lock_value holder)")
mv -f "$mine" "$PRIVATE/lock"
begin
stopped_at=$(apply) || undo "$stopped_at"
write_manifest || fail 15 'activated, but the manifest could not be written; the journal stays: run again'
rm -f "$PRIVATE/journal"
prune
action=$(records service)
[ "$action" != none ] || action='nothing to reload'
if [ -e "$stage/waiting" ]; then
    printf 'routes of removed domains stay for %s queued recipients: run again when the queue has let them go\n' \
        "$(cat "$stage/waiting")"
fi
printf 'activated: %s; generation %s is what was live before\n' "$action" "$generation"
