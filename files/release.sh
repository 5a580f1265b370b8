# shellcheck shell=sh
# NAME
#   release.sh - give up a staged change
# SYNOPSIS
#   release.sh DIRECTORY TOKEN
# DESCRIPTION
#   Removes the lock where it is this run's, with its stage and what killed programs left; the live files are not touched. Does nothing while a
#   program of that run is at work here: its controller may be gone, but it comes to its end by itself.
# EXIT STATUS
#   0 in every case

directory=$1 token=$2
cd "$directory" || exit 0
if [ "$(lock_value token)" = "$token" ] && lock_is_busy; then
    exit 0
fi
if [ "$(lock_value token)" = "$token" ]; then
    clear_up
fi
release_lock "$token"
