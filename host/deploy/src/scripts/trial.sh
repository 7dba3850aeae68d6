# Puts a slot in service, watches the daemon, and confirms it or goes back: prefix, slot, token (`-` for a rollback),
# the bundle's digest, seconds to wait for health, seconds to stay healthy, least number of embeddings.
#
# What was begun is ended here, whether or not the host is still there to hear of it.
trap '' HUP PIPE
new=$2 token=$3 digest=$4 wait=$5 hold=$6 least=$7
settle
[ "$token" = - ] || [ "$(cat "$prefix/owner" 2>/dev/null)" = "$token" ] ||
    fail "another host flashes this board now; it has the slot $new"
old=$(current)
state=$(state_of "$new")
[ "$old" != "$new" ] || fail "the slot $new is in service already"
whole "$new" || fail "the slot $new is not whole; flash it again"

# The first value of a key of status.json. Quotes inside of strings are escaped there, so none of them is taken for a key.
field() {
    head -c 65536 "$state/status.json" 2>/dev/null | tr -d '\n' | tr ',{' '\n\n' |
        sed -n 's/^[[:space:]]*"'"$1"'"[[:space:]]*:[[:space:]]*"\{0,1\}\([^"}]*\).*/\1/p' | head -n 1 | tr -d ' '
}

# Whether the daemon is healthy at this moment; says in `why` what it still lacks, and in `pid` which process it is.
healthy() {
    active=$(systemctl is-active "$unit" 2>/dev/null)
    pid=$(systemctl show -p MainPID "$unit" 2>/dev/null)
    pid=${pid#MainPID=}
    if [ "$active" != active ]; then
        why="the service is $active"
    elif [ ! -f "$state/status.json" ]; then
        why="the daemon runs but has written no status.json since it was started"
    elif [ "$(field pid)" != "$pid" ]; then
        why="status.json is of the process $(field pid), the service is $pid"
    elif [ "$(field bundle_digest)" != "$digest" ]; then
        why="the daemon runs the bundle $(field bundle_digest) instead of $digest"
    else
        embeddings=$(field embeddings)
        case "$embeddings" in
            '' | *[!0-9]*) why="status.json has no number of embeddings" ;;
            *)
                # The count goes on from a checkpoint; the age is null until this process has made one.
                age=$(field last_embedding_age_s)
                [ "$least" = 0 ] && return 0
                case "$age" in
                    '' | null) why="the daemon runs but has made no embedding since it was started" ;;
                    *)
                        [ "$embeddings" -ge "$least" ] && return 0
                        why="the daemon runs but has made $embeddings embeddings of at least $least"
                        ;;
                esac
                ;;
        esac
    fi
    return 1
}

# Starts what is in service now. The old status is taken away, so that the next one is of the new process; clocks of
# boards jump, so times are not compared.
start() {
    systemctl daemon-reload
    systemctl stop "$unit" 2>/dev/null
    rm -f "$state/status.json"
    systemctl reset-failed "$unit" 2>/dev/null
    systemctl enable "$unit" >/dev/null 2>&1
    systemctl start --no-block "$unit"
}

printf '%s %s %s\n' "${old:--}" "$$" "$(boot_id)" >"$prefix/trial.new" && sync &&
    mv -f "$prefix/trial.new" "$prefix/trial" && sync || fail "cannot write $prefix/trial"
if ! point_to "$new"; then
    go_back "${old:--}"
    fail "cannot put the slot $new in service"
fi
start
elapsed=0 held=0 last= why="the service did not start"
while [ "$elapsed" -lt "$wait" ] || [ "$held" -gt 0 ]; do
    sleep 1
    elapsed=$((elapsed + 1))
    if healthy && [ "$pid" = "${last:-$pid}" ]; then
        held=$((held + 1))
    else
        held=0
    fi
    last=$pid
    if [ "$held" -ge "$hold" ]; then
        rm -f "$prefix/trial"
        printf 'confirmed %s is in service\n' "$new" >"$prefix/outcome"
        sync
        printf 'outcome=confirmed\nseconds=%s\n' "$elapsed"
        exit 0
    fi
    # Given up by systemd, which has its own limit of attempts.
    [ "$active" = failed ] && break
done
log=$(journalctl -u "$unit" -n 30 --no-pager -o cat 2>/dev/null | tail -c 8192)
printf 'reverted %s was not healthy: %s\n' "$new" "$why" >"$prefix/outcome"
went_back=yes
go_back "${old:--}" || went_back=no
if [ -n "$old" ]; then
    start
    elapsed=0
    while [ "$(systemctl is-active "$unit" 2>/dev/null)" != active ] && [ "$elapsed" -lt "$wait" ]; do
        sleep 1
        elapsed=$((elapsed + 1))
    done
else
    systemctl stop "$unit" 2>/dev/null
    systemctl daemon-reload
fi
printf 'outcome=reverted\nreason=%s\nwent_back=%s\nback_to=%s\nservice=%s\njournal=\n%s\n' "$why" "$went_back" "$old" \
    "$(systemctl is-active "$unit" 2>/dev/null)" "$log"
exit 0
