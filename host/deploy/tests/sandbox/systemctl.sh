#!/bin/sh
# A service manager for one service, which it really starts and stops.
run=/run/service
mkdir -p $run
words=
for word in "$@"; do
    case $word in -*) ;; *) words="$words $word" ;; esac
done
set -- $words
unit_file=/etc/systemd/system/sedged.service
wants=/etc/systemd/system/multi-user.target.wants
# Waits for a file; not for ever, since the sandbox may be gone meanwhile.
wait_for() {
    left=1000
    while [ ! -f $run/$1 ]; do
        left=$((left - 1))
        [ $left -gt 0 ] || exit 1
        sleep 0.02
    done
}
stop() {
    [ -f $run/pid ] || return 0
    kill "$(cat $run/pid)" 2>/dev/null
    wait_for exit
    rm -f $run/pid $run/exit
}
start() {
    [ -f $unit_file ] || exit 5
    command=$(sed -n 's/^ExecStart=//p' $unit_file)
    rm -f $run/exit $run/pid
    (
        $command &
        echo $! >$run/pid.new
        mv $run/pid.new $run/pid
        wait $!
        echo $? >$run/exit
    ) </dev/null >>/var/log/journal 2>&1 &
    wait_for pid
}
echo "$*" >>/var/log/systemctl
case $1 in
    is-active)
        if [ ! -f $run/pid ]; then echo inactive; exit 3; fi
        if [ -f $run/exit ]; then echo failed; exit 3; fi
        echo active
        ;;
    is-enabled)
        if [ -L $wants/$2 ]; then echo enabled; else echo disabled; exit 1; fi
        ;;
    show) echo "MainPID=$(cat $run/pid 2>/dev/null || echo 0)" ;;
    enable)
        mkdir -p $wants
        ln -sf ../$2 $wants/$2
        ;;
    start) start ;;
    stop) stop ;;
    restart) stop; start ;;
    daemon-reload | reset-failed) ;;
    *) echo "systemctl: $*?" >&2; exit 1 ;;
esac
