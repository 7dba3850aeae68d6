#!/bin/busybox sh
# The first program of the emulated machine: brings up what the acceptance needs, then takes commands from
# the console, a line each, and says after each how it ended.
export PATH=/bin:/data/opt/sedge/current NO_COLOR=1
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
for module in @MODULES@; do
    insmod "/modules/$module" || echo "cannot insert $module"
done
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    [ -b /dev/mmcblk0 ] && [ -c /dev/i2c-1 ] && [ -c /dev/video0 ] && break
    sleep 1
done
mount -t ext4 /dev/mmcblk0 /data || echo "cannot mount the card"
stty -echo
echo "@@ready"
number=0
while IFS= read -r line; do
    number=$((number + 1))
    # A shell of its own, so that no command can end this one.
    sh -c "$line" </dev/null 2>&1
    echo "@@end $number $?"
done
