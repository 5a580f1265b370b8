# shellcheck shell=sh
# NAME
#   release.sh - give up a staged change
# SYNOPSIS
#   release.sh DIRECTORY TOKEN
# DESCRIPTION
#   Removes the stage and the lock where they are this run's; the live files are not touched. Does nothing while a
#   program of that run is at work here: its controller may be gone, but it comes to its end by itself.
# EXIT STATUS
#   0 in every case

directory=$1 token=$2
cd "$directory" || exit 0
if [ "$(lock_value token)" = "$token" ] && lock_is_busy; then
    exit 0
fi
rm -rf "$PRIVATE/stage.$token"
release_lock "$token"
