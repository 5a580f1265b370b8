# shellcheck shell=sh
# NAME
#   settle.sh - end a change that was activated: confirm it, keep it as it is, or put back what was live before
# SYNOPSIS
#   settle.sh DIRECTORY TOKEN DAEMONS QUEUE confirm MOST
#   settle.sh DIRECTORY TOKEN DAEMONS QUEUE keep
#   settle.sh DIRECTORY TOKEN DAEMONS QUEUE undo REASON
# DESCRIPTION
#   DAEMONS and QUEUE are the directories of daemons and queue that are compiled in.
#   confirm: nobody goes back any more. Where the deferred queue has grown by more than MOST messages since before the
#   activation, the change is undone instead. A Postfix that mailproxy installed is enabled at boot with that, not before.
#   keep: it was not proven, and stays: its watcher ends, but the journal tells the next run that nothing was proven.
#   undo: the generation that was live before is put back and loaded.
#   In each case the lock is released.
# EXIT STATUS
#   see common.sh: 0, 14, 15, 16, 69

directory=$1 token=$2 compiled_daemons=$3 compiled_queue=$4 what=$5 argument=${6:-}
scratch=$PRIVATE/restore
# How many generations are kept besides the first.
KEPT=10

# prune - keep generation 0, what was there before us, and the last ones.
prune() {
    set -- "$generations"/*
    [ $# -gt $((KEPT + 1)) ] || return 0
    saved_generations | sort -rn | sed -e '$d' -e "1,${KEPT}d" | while read -r number; do
        rm -rf "${generations:?}/$number"
    done
}

# confirm - the change stays.
confirm() {
    [ -n "$(journal_value applied)" ] || fail 16 'the change is not live as a whole: run again'
    grown=$(($(deferred_messages) - $(journal_value deferred)))
    [ "$grown" -le "$argument" ] ||
        undo "the deferred queue grew by $grown messages since the activation, expected $argument at the most"
    if is_bootstrapping; then
        # From now on, as what it would be started with is proven.
        said=$(at_boot enable 2>&1) || undo "Postfix could not be enabled at boot: $(printf '%s' "$said" | tr '\n' ' ')"
        rm -f "$PRIVATE/bootstrap"
        [ "$(service_manager)" != none ] || echo 'nothing on this system starts Postfix at boot'
    fi
    # The journal first: what is without it is over.
    rm -f "$PRIVATE/journal"
    note_in_syslog "confirmed generation $((generation + 1))"
    prune
}

# finish - the lock is over, whatever happened, and what was prepared for the way back where that is closed.
finish() {
    status=$?
    trap - EXIT
    set --
    [ "$(lock_value token)" != "$token" ] || set -- "$PRIVATE/lock"
    case $(journal_value token) in
        '' | "$token") is_unsettled || set -- "$@" "$PRIVATE/restore" ;;
    esac
    unclaim "$@"
    exit "$status"
}

cd "$directory" || fail 69 "cannot enter $directory"
find_postfix "$compiled_daemons" "$compiled_queue"
trap '' HUP INT TERM PIPE
claim "$$" || fail 16 'another program is at work on this change; run again to see what became of it'
trap finish EXIT
generation=$(journal_value generation)
is_unsettled ||
    fail 16 'the change is not waiting any more: it was not confirmed in time and put back, or another run took over'
case $what in
    confirm) confirm ;;
    keep)
        echo 'verdict inconclusive' >>"$PRIVATE/journal"
        note_in_syslog "kept generation $((generation + 1)), though nothing proved it"
        ;;
    undo) undo "$argument" ;;
    *) fail 64 "asked to $what, expected confirm, keep or undo" ;;
esac
