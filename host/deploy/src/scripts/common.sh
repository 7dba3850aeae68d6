# Begins every script that runs on a board. Plain POSIX, and nothing that busybox lacks.
set -u
LC_ALL=C
export LC_ALL
umask 022
prefix=$1
units=/etc/systemd/system
home=/var/lib/sedge
unit=sedged.service
prepare=sedge-prepare.service

fail() {
    printf 'sedge: %s\n' "$*" >&2
    exit 3
}

# The slot in service, or nothing.
current() {
    case "$(readlink "$prefix/current" 2>/dev/null)" in
        a) echo a ;;
        b) echo b ;;
    esac
}

boot_id() {
    cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo unknown
}

# The folder that the daemon of the slot $1 writes to.
state_of() {
    printf '%s/%s' "$home" "$(sed -n 's/.*"state_folder":"\([A-Za-z0-9-]*\)".*/\1/p' "$prefix/$1/slot.json" 2>/dev/null)"
}

# Whether the slot $1 holds all that its sums name.
whole() {
    [ -f "$prefix/$1/SHA256SUMS" ] &&
        [ "$(wc -l <"$prefix/$1/SHA256SUMS")" -ge 5 ] &&
        (cd "$prefix/$1" && sha256sum -c SHA256SUMS) >/dev/null 2>&1
}

# Puts the slot $1 in the place of the one in service: its unit, then the link, each renamed into place.
point_to() {
    cp "$prefix/$1/$unit" "$units/.$unit.new" &&
        mv -f "$units/.$unit.new" "$units/$unit" &&
        rm -f "$prefix/current.new" &&
        ln -s "$1" "$prefix/current.new" &&
        mv -T "$prefix/current.new" "$prefix/current" &&
        sync
}

# Goes back to the slot that the trial's marker names; `-` is none.
go_back() {
    if [ "$1" = - ]; then
        rm -f "$prefix/current" "$units/multi-user.target.wants/$unit"
    else
        point_to "$1" || return 1
    fi
    rm -f "$prefix/trial"
    sync
}

# Whether a trial is under way in this boot; one of an earlier boot, or of a process that is gone, is over.
on_trial() {
    [ -f "$prefix/trial" ] || return 1
    read -r trial_old trial_pid trial_boot <"$prefix/trial" || return 1
    [ "$trial_boot" = "$(boot_id)" ] && kill -0 "$trial_pid" 2>/dev/null
}

# Ends a trial that nobody will end: the machine lost power in it, or its process was killed.
settle() {
    on_trial && fail "a slot is on trial at this moment; wait until it is confirmed or taken back (sedge status)"
    [ -f "$prefix/trial" ] || return 0
    trial_old=-
    read -r trial_old trial_pid trial_boot <"$prefix/trial" || true
    case "$trial_old" in a | b | -) ;; *) trial_old=- ;; esac
    printf 'reverted the trial was cut off; back to %s\n' "$trial_old" >"$prefix/outcome"
    go_back "$trial_old" || fail "cannot put the slot $trial_old back in service"
    systemctl daemon-reload
    if [ "$trial_old" = - ]; then
        systemctl stop "$unit"
    else
        systemctl restart --no-block "$unit"
    fi
}
