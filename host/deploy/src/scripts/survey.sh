# What lies in the slots, what is in service and how it is: lines of key=value.
printf 'current=%s\n' "$(current)"
if on_trial; then
    echo trial=running
elif [ -f "$prefix/trial" ]; then
    echo trial=abandoned
fi
for slot in a b; do
    if whole "$slot"; then
        printf 'slot_%s=%s\n' "$slot" "$(head -c 4096 "$prefix/$slot/slot.json" | tr -d '\n')"
    elif [ -n "$(ls -A "$prefix/$slot" 2>/dev/null)" ]; then
        printf 'slot_%s=partial\n' "$slot"
    fi
done
printf 'service=%s\n' "$(systemctl is-active "$unit" 2>/dev/null)"
printf 'enabled=%s\n' "$(systemctl is-enabled "$unit" 2>/dev/null)"
state=$(state_of "$(current)")
[ -f "$state/status.json" ] && printf 'status=%s\n' "$(head -c 65536 "$state/status.json" | tr -d '\n')"
[ -f "$prefix/outcome" ] && printf 'outcome=%s\n' "$(head -n 1 "$prefix/outcome")"
exit 0
