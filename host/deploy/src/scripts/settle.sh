# Runs at boot, before the daemon, as the file `settle` of the prefix: a trial that lost its power is over.
on_trial && exit 0
[ -f "$prefix/trial" ] || exit 0
trial_old=-
read -r trial_old trial_pid trial_boot <"$prefix/trial" || true
[ "$trial_boot" = "$(boot_id)" ] && exit 0
case "$trial_old" in a | b | -) ;; *) trial_old=- ;; esac
go_back "$trial_old" || fail "cannot put the slot $trial_old back in service"
printf 'reverted the machine went down in the trial; back to %s\n' "$trial_old" >"$prefix/outcome"
systemctl --no-block daemon-reload
