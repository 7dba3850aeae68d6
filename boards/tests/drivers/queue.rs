//! Queues in the chip: whole samples, oldest first, in bursts, and what is done when they run over.

use sedge_boards::imu::{Icm20948, Icm20948Config, Lsm6dsox, Lsm6dsoxConfig, Mpu, MpuConfig};
use sedge_boards::registers::{OverI2c, SensorError};
use sedge_readings::ImuSample;

use crate::chip::{AtAddress, Chip, Clock};
use crate::inertial::icm;

const G: f32 = 9.806_65;

/// Sample `n` of a ramp: `n` hundred counts along x, minus as much about z.
fn counts(n: i16) -> [i16; 6] {
    [n * 100, 0, 0, 0, 0, -n * 100]
}

fn big_endian(chip: &mut Chip, samples: std::ops::Range<i16>) {
    chip.queue.extend(samples.flat_map(counts).flat_map(i16::to_be_bytes));
}

fn is_ramp(samples: &[ImuSample], first: i16, g_counts: f32, dps_counts: f32) {
    for (sample, n) in samples.iter().zip(first..) {
        let wanted = f32::from(n) * 100.0;
        assert!((sample.accel[0] - wanted / g_counts * G).abs() < 1e-3, "{n}: {sample:?}");
        assert!((sample.gyro[2] + (wanted / dps_counts).to_radians()).abs() < 1e-3, "{n}: {sample:?}");
    }
}

#[test]
fn an_mpus_queue_is_read_in_bursts_of_whole_samples() {
    let chip = Chip::new().with(0x75, &[0x68]).queue_at(0x74, 0x74);
    let mut imu = Mpu::new(OverI2c::new(AtAddress(0x68, chip), 0x68), MpuConfig::default()).unwrap();
    imu.start_queue().unwrap();
    let chip = &mut imu.registers_mut().bus_mut().1;
    assert_eq!((chip.peek(0x23), chip.written(0x6A)), (0x78, vec![0x04, 0x40]));
    // 21 samples and the beginning of another, which stays.
    big_endian(chip, 0..21);
    chip.queue.extend([1, 2, 3]);
    chip.poke(0x72, &255u16.to_be_bytes());
    let mut samples = [ImuSample::default(); 32];
    assert_eq!(imu.drain(&mut samples).unwrap(), 21);
    is_ramp(&samples[..21], 0, 8192.0, 65.5);
    let chip = &mut imu.registers_mut().bus_mut().1;
    assert_eq!(chip.queue.len(), 3);
    // No more than there is room for; the rest waits.
    chip.queue.clear();
    big_endian(chip, 0..21);
    chip.poke(0x72, &252u16.to_be_bytes());
    assert_eq!(imu.drain(&mut samples[..5]).unwrap(), 5);
    assert_eq!(imu.registers_mut().bus_mut().1.queue.len(), 16 * 12);
    assert_eq!(imu.drain(&mut []).unwrap(), 0);
}

#[test]
fn an_mpus_queue_that_ran_over_is_emptied_and_said() {
    let chip = Chip::new().with(0x75, &[0x68]).queue_at(0x74, 0x74);
    let mut imu = Mpu::new(OverI2c::new(AtAddress(0x68, chip), 0x68), MpuConfig::default()).unwrap();
    imu.start_queue().unwrap();
    imu.registers_mut().bus_mut().1.poke(0x3A, &[0x10]);
    let error = imu.drain(&mut [ImuSample::default(); 4]).unwrap_err();
    assert!(matches!(error, SensorError::Overrun { .. }), "{error}");
    assert_eq!(imu.registers_mut().bus_mut().1.written(0x6A), [0x04, 0x40, 0x04, 0x40]);
}

#[test]
fn an_icms_queue_counts_in_thirteen_bits() {
    let chip = icm().queue_at(0x72, 0x72);
    let registers = OverI2c::new(AtAddress(0x69, chip), 0x69);
    let mut imu = Icm20948::new(registers, Icm20948Config::default(), &mut Clock::default()).unwrap();
    imu.start_queue().unwrap();
    let chip = &mut imu.registers_mut().bus_mut().1;
    assert_eq!((chip.peek(0x67), chip.peek(0x03), chip.written(0x68)), (0x1E, 0x40, vec![0x1F, 0]));
    big_endian(chip, 5..15);
    // Reserved bits above the count are not part of it.
    chip.poke(0x70, &(0xE000u16 | 120).to_be_bytes());
    let mut samples = [ImuSample::default(); 32];
    assert_eq!(imu.drain(&mut samples).unwrap(), 10);
    is_ramp(&samples[..10], 5, 8192.0, 65.5);
    imu.registers_mut().bus_mut().1.poke(0x1B, &[1]);
    assert!(matches!(imu.drain(&mut samples), Err(SensorError::Overrun { .. })));
}

/// Words of the LSM6DSOX's queue: the tag's sensor in bits 7:3, a counter and parity below.
fn words(chip: &mut Chip, tags: &[u8], n: i16) {
    let [ax, ay, az, gx, gy, gz] = counts(n);
    for &tag in tags {
        let three = match tag {
            1 => [gx, gy, gz],
            2 => [ax, ay, az],
            _ => [i16::MAX; 3],
        };
        chip.queue.push_back(tag << 3 | 0b101);
        chip.queue.extend(three.into_iter().flat_map(i16::to_le_bytes));
    }
}

#[test]
fn an_lsms_queue_is_joined_by_its_tags() {
    let chip = Chip::new().with(0x0F, &[0x6C]).queue_at(0x78, 0x7E);
    let registers = OverI2c::new(AtAddress(0x6A, chip), 0x6A);
    let mut imu = Lsm6dsox::new(registers, Lsm6dsoxConfig::default()).unwrap();
    imu.start_queue().unwrap();
    let chip = &mut imu.registers_mut().bus_mut().1;
    assert_eq!((chip.peek(0x09), chip.written(0x0A)), (0x44, vec![0, 6]));
    // Halves in either order, and now and then a word of something else.
    for n in 0..20 {
        let tags: &[u8] = if n % 3 == 0 { &[2, 4, 1] } else { &[1, 2] };
        words(chip, tags, n);
    }
    let waiting = (chip.queue.len() / 7) as u16;
    chip.poke(0x3A, &waiting.to_le_bytes());
    let mut samples = [ImuSample::default(); 32];
    assert_eq!(imu.drain(&mut samples).unwrap(), 20);
    // 0.122 mg and 17.5 mdps a count.
    is_ramp(&samples[..20], 0, 1000.0 / 0.122, 1000.0 / 17.5);
    let chip = &mut imu.registers_mut().bus_mut().1;
    assert!(chip.queue.is_empty());
    chip.poke(0x3B, &[0x40]);
    assert!(matches!(imu.drain(&mut samples), Err(SensorError::Overrun { .. })));
}
