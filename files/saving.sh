# shellcheck shell=sh
# NAME
#   saving.sh - copies of what is live, and of what a change will have loaded
# SYNOPSIS
#   put between common.sh and the text of stage.sh; never run by itself
# DESCRIPTION
#   The program that uses it has set $stage, the directory of the change, with the digests of what is live in its file "live".
#   activate.sh has nothing left to copy with that.

# save_live - copy what is live, which is what to go back to. Copies, not links: a table that keeps a name is not seen as
# replaced by running daemons, and a file that is edited in place later would change its own past.
save_live() {
    mkdir "$stage/generation" "$stage/generation/loaded" || return 1
    # The names are ours and hold no blanks: splitting is wanted.
    # shellcheck disable=SC2046
    set -- $(live_names)
    [ ! -f "$PRIVATE/manifest" ] || set -- "$@" "$PRIVATE/manifest"
    [ $# -eq 0 ] || cp -p "$@" "$stage/generation/" || return 1
    # What was loaded is what is live, but where somebody edited that.
    set --
    loaded=''
    while read -r _ sum name; do
        loaded="$loaded $name=$sum"
    done 2>/dev/null <"$PRIVATE/manifest" || :
    while read -r sum name; do
        case "$loaded " in
            *" $name=$sum "*) ;;
            *) [ ! -f "$PRIVATE/loaded/$name" ] || set -- "$@" "$PRIVATE/loaded/$name" ;;
        esac
    done <"$stage/live"
    [ $# -eq 0 ] || cp -p "$@" "$stage/generation/loaded/"
}

# save_loaded - copy what this change will have loaded, which is what it stages and else what is live.
save_loaded() {
    staged='' released=''
    while read -r word one _; do
        case $word in
            swap) staged="$staged $one" ;;
            release) released="$released $one" ;;
        esac
    done <"$stage/change"
    set --
    for name in $managed; do
        source=$name
        case "$released " in *" $name "*) continue ;; esac
        case "$staged " in *" $name "*) source=$stage/$name ;; esac
        [ ! -f "$source" ] || set -- "$@" "$source"
    done
    mkdir "$stage/loaded" && cp "$@" "$stage/loaded/"
}
