//! Inertial chips: identity, settings as their data sheets number them, and one sample in SI units.

use sedge_boards::imu::{
    AccelRange, BMI270_FIRMWARE, Bmi, BmiChip, BmiConfig, GyroRange, Icm20948, Icm20948Config, Lsm6dsox,
    Lsm6dsoxConfig, Mpu, MpuChip, MpuConfig,
};
use sedge_boards::registers::{OverI2c, OverSpi, Place, SensorError};
use sedge_readings::ImuSample;

use crate::chip::{AtAddress, Chip, Clock, Nobody, Selected};

const G: f32 = 9.806_65;

/// One g along z and a turn a second about x, in the counts of ±4 g and ±500 °/s: 8192 and 360 times `dps`.
fn near(sample: ImuSample, accel: [f32; 3], gyro: [f32; 3]) {
    for (found, wanted) in sample.accel.iter().zip(accel).chain(sample.gyro.iter().zip(gyro)) {
        assert!((found - wanted).abs() < 0.002 * wanted.abs().max(1.0), "{sample:?}");
    }
}

fn mpu(id: u8) -> Chip {
    Chip::new().with(0x75, &[id]).with(0x6B, &[0x40]).read_only(0x75..=0x75)
}

pub fn icm() -> Chip {
    fn react(chip: &mut Chip, register: u8, value: u8) {
        match register {
            0x7F => {
                chip.bank = usize::from(value >> 4 & 3);
                chip.banks.iter_mut().for_each(|bank| bank[0x7F] = value);
            }
            0x06 if chip.bank == 0 && value & 0x80 != 0 => chip.poke(0x06, &[0x41]),
            _ => {}
        }
    }
    Chip::new().with(0x00, &[0xEA]).with(0x06, &[0x41]).reacting(react)
}

fn bmi160() -> Chip {
    fn react(chip: &mut Chip, register: u8, value: u8) {
        let status = chip.peek(0x03);
        match (register, value) {
            (0x7E, 0xB6) => chip.poke(0x03, &[0]),
            (0x7E, 0x11) => chip.poke(0x03, &[status | 1 << 4]),
            (0x7E, 0x15) => chip.poke(0x03, &[status | 1 << 2]),
            _ => {}
        }
    }
    Chip::new().with(0x00, &[0xD1]).read_only(0x00..=0x03).reacting(react)
}

fn bmi270() -> Chip {
    fn react(chip: &mut Chip, register: u8, value: u8) {
        if (register, value) == (0x59, 1) && chip.uploaded.len() == BMI270_FIRMWARE {
            chip.poke(0x21, &[1]);
        }
    }
    Chip::new().with(0x00, &[0x24]).read_only(0x00..=0x21).reacting(react)
}

#[test]
fn an_mpu_is_known_by_its_number_whichever_of_the_family() {
    for (kind, id) in [(MpuChip::Mpu6050, 0x68), (MpuChip::Mpu6500, 0x70), (MpuChip::Mpu9250, 0x71)] {
        let config = MpuConfig { chip: kind, ..MpuConfig::default() };
        let mut imu = Mpu::new(OverI2c::new(AtAddress(0x68, mpu(id)), 0x68), config).unwrap();
        let chip = &mut imu.registers_mut().bus_mut().1;
        // ±4 g and ±500 °/s are 1 in bits 4:3; 100 Hz is a divider of 9 and a filter of 3.
        assert_eq!([0x19, 0x1A, 0x1B, 0x1C].map(|register| chip.peek(register)), [9, 3, 8, 8]);
        let has_second_filter = kind != MpuChip::Mpu6050;
        assert_eq!(chip.peek(0x1D) == 3, has_second_filter);
        chip.poke(0x3B, &[0, 0, 0, 0, 0x20, 0, 0, 0, 0x5C, 0x1C, 0, 0, 0, 0]);
        // 23580 / 65.5 = 360 °/s.
        near(imu.sample().unwrap(), [0.0, 0.0, G], [core::f32::consts::TAU, 0.0, 0.0]);
        let others = [0x68, 0x70, 0x71, 0xEA].into_iter().filter(|other| *other != id);
        for other in others {
            let error =
                Mpu::new(OverI2c::new(AtAddress(0x68, mpu(other)), 0x68), config).map(|_| ()).unwrap_err();
            assert!(matches!(error, SensorError::WrongChip { found, .. } if found == other), "{error}");
        }
    }
}

#[test]
fn an_mpu_behind_a_chip_select_is_the_same() {
    let config = MpuConfig { chip: MpuChip::Mpu9250, ..MpuConfig::default() };
    let mut imu = Mpu::new(OverSpi::new(Selected(mpu(0x71))), config).unwrap();
    imu.registers_mut().device_mut().0.poke(0x3B, &[0xE0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    near(imu.sample().unwrap(), [-G, 0.0, 0.0], [0.0; 3]);
    let error = Mpu::new(OverSpi::new(Selected(mpu(0x12))), config).map(|_| ()).unwrap_err();
    assert!(matches!(error, SensorError::WrongChip { place: Place::Spi, .. }));
    assert!(error.to_string().contains("SPI chip select"), "{error}");
}

#[test]
fn an_icm_is_set_in_bank_two_and_read_in_bank_zero() {
    let mut clock = Clock::default();
    let registers = OverI2c::new(AtAddress(0x69, icm()), 0x69);
    let config = Icm20948Config { rate_hz: 225, accel: AccelRange::G8, gyro: GyroRange::Dps1000 };
    let mut imu = Icm20948::new(registers, config, &mut clock).unwrap();
    assert!(clock.ns >= 100_000_000);
    // 1125 / (1 + 4) = 225; filter 3, range 2, filter on.
    let writes = |chip: &Chip, register| chip.banks[2][register];
    let mut registers = imu_chip(&mut imu);
    assert_eq!([0x00, 0x11, 0x01, 0x14].map(|r| writes(registers, r)), [4, 4, 0b01_1101, 0b01_1101]);
    assert_eq!((registers.bank, registers.peek(0x06)), (0, 1));
    // ±8 g: 4096 counts; ±1000 °/s: 32.8 counts a degree, 11808 is 360.
    registers = imu_chip(&mut imu);
    registers.poke(0x2D, &[0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x2E, 0x20]);
    near(imu.sample().unwrap(), [0.0, G, 0.0], [0.0, 0.0, core::f32::consts::TAU]);
}

fn imu_chip(imu: &mut Icm20948<OverI2c<AtAddress>>) -> &mut Chip {
    &mut imu.registers_mut().bus_mut().1
}

#[test]
fn an_lsm_numbers_its_ranges_out_of_order() {
    let chip = || Chip::new().with(0x0F, &[0x6C]).read_only(0x0F..=0x0F);
    // FS_XL: 2, 16, 4, 8 g; FS_G in order; 104 Hz is 4.
    for (accel, gyro, wanted) in [
        (AccelRange::G2, GyroRange::Dps250, [0x40, 0x40]),
        (AccelRange::G16, GyroRange::Dps2000, [0x44, 0x4C]),
        (AccelRange::G4, GyroRange::Dps500, [0x48, 0x44]),
        (AccelRange::G8, GyroRange::Dps1000, [0x4C, 0x48]),
    ] {
        let config = Lsm6dsoxConfig { rate_hz: 104, accel, gyro };
        let mut imu = Lsm6dsox::new(OverI2c::new(AtAddress(0x6A, chip()), 0x6A), config).unwrap();
        let chip = &mut imu.registers_mut().bus_mut().1;
        assert_eq!([0x10, 0x11].map(|register| chip.peek(register)), wanted);
        // Sensitivities of the data sheet: 0.061 mg and 8.75 mdps for the narrowest.
        let (milli_g, milli_dps) =
            (0.061 * (accel.full_scale_g() / 2) as f32, 8.75 * (gyro.full_scale_dps() / 250) as f32);
        let counts = [(1000.0 / milli_g) as i16, (90_000.0 / milli_dps) as i16];
        let [[al, ah], [gl, gh]] = counts.map(i16::to_le_bytes);
        chip.poke(0x22, &[gl, gh, 0, 0, 0, 0, 0, 0, 0, 0, al, ah]);
        near(imu.sample().unwrap(), [0.0, 0.0, G], [core::f32::consts::FRAC_PI_2, 0.0, 0.0]);
    }
}

#[test]
fn a_bmi160_wakes_by_commands_and_says_rates_first() {
    let mut clock = Clock::default();
    let config = BmiConfig { rate_hz: 200, accel: AccelRange::G16, gyro: GyroRange::Dps250 };
    let registers = OverI2c::new(AtAddress(0x68, bmi160()), 0x68);
    let mut imu = Bmi::new(registers, BmiChip::Bmi160, config, &[], &mut clock).unwrap();
    assert!(clock.ns >= 85_000_000);
    let chip = &mut imu.registers_mut().bus_mut().1;
    assert_eq!([0x40, 0x41, 0x42, 0x43].map(|r| chip.peek(r)), [0x29, 0x0C, 0x29, 3]);
    // ±16 g: 2048 counts; ±250 °/s: 131.072 counts a degree.
    chip.poke(0x0C, &[0, 0x40, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0]);
    near(imu.sample().unwrap(), [G, 0.0, 0.0], [125f32.to_radians(), 0.0, 0.0]);
    let asleep = Chip::new().with(0x00, &[0xD1]);
    let registers = OverI2c::new(AtAddress(0x68, asleep), 0x68);
    let error = Bmi::new(registers, BmiChip::Bmi160, config, &[], &mut clock).map(|_| ()).unwrap_err();
    assert!(matches!(error, SensorError::NotReady { .. }), "{error}");
}

#[test]
fn a_bmi270_is_refused_in_words_without_its_makers_file() {
    let registers = OverI2c::new(AtAddress(0x68, bmi270()), 0x68);
    let error = Bmi::new(registers, BmiChip::Bmi270, BmiConfig::default(), &[], &mut Clock::default())
        .map(|_| ())
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("8192") && text.contains("does not ship") && text.contains("firmware"), "{text}");
}

#[test]
fn a_bmi270_takes_its_file_in_order_and_then_measures() {
    let file: Vec<u8> = (0..BMI270_FIRMWARE).map(|at| (at * 7 + at / 256) as u8).collect();
    let registers = OverI2c::new(AtAddress(0x68, bmi270()), 0x68);
    let mut clock = Clock::default();
    let mut imu = Bmi::new(registers, BmiChip::Bmi270, BmiConfig::default(), &file, &mut clock).unwrap();
    let chip = &mut imu.registers_mut().bus_mut().1;
    assert_eq!(chip.uploaded, file);
    // Places in words of two bytes, eight words a block, low nibble and high byte apart.
    let places: Vec<u16> = chip
        .written(0x5B)
        .into_iter()
        .zip(chip.written(0x5C))
        .map(|(low, high)| u16::from(low) | u16::from(high) << 4)
        .collect();
    assert_eq!(places, (0..512).map(|block| block * 8).collect::<Vec<u16>>());
    assert_eq!([0x7D, 0x40, 0x41, 0x42, 0x43].map(|r| chip.peek(r)), [0x0E, 0xA8, 1, 0xA8, 2]);
    // Acceleration first: ±4 g, 8192 counts; ±500 °/s, 65.536 counts a degree.
    chip.poke(0x00, &[0x24]);
    chip.poke(0x0C, &[0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0x40, 0, 0]);
    near(imu.sample().unwrap(), [0.0, 0.0, G], [0.0, 250f32.to_radians(), 0.0]);
}

#[test]
fn a_byte_of_nothing_before_what_is_read_over_spi_is_passed_over() {
    let file = vec![1; BMI270_FIRMWARE];
    let chip = bmi270().with_dummy_byte();
    let registers = OverSpi::with_dummy_byte(Selected(chip));
    let mut imu =
        Bmi::new(registers, BmiChip::Bmi270, BmiConfig::default(), &file, &mut Clock::default()).unwrap();
    imu.registers_mut().device_mut().0.poke(0x0C, &[0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    near(imu.sample().unwrap(), [G, 0.0, 0.0], [0.0; 3]);
}

#[test]
fn a_chip_that_is_not_there_and_a_setting_that_is_not_taken_are_told_apart() {
    let absent = mpu(0x68).absent();
    let error =
        Mpu::new(OverI2c::new(AtAddress(0x68, absent), 0x68), MpuConfig::default()).map(|_| ()).unwrap_err();
    assert!(matches!(error, SensorError::Bus { source: Nobody, place: Place::I2c(0x68), .. }), "{error}");
    let stuck = mpu(0x68).read_only(0x1C..=0x1C);
    let error =
        Mpu::new(OverI2c::new(AtAddress(0x68, stuck), 0x68), MpuConfig::default()).map(|_| ()).unwrap_err();
    assert!(
        matches!(error, SensorError::NotTaken { register: "AccelConfig", wrote: 8, read: 0, .. }),
        "{error}"
    );
}

#[test]
fn a_rate_that_a_chip_does_not_have_never_reaches_the_bus() {
    let absent = || OverI2c::new(AtAddress(0x68, Chip::new().absent()), 0x68);
    let mut clock = Clock::default();
    let refused = |error: SensorError<Nobody>| {
        assert!(matches!(error, SensorError::Setting { setting: "rate_hz", found: 7, .. }), "{error}");
    };
    refused(Mpu::new(absent(), MpuConfig { rate_hz: 7, ..MpuConfig::default() }).map(|_| ()).unwrap_err());
    let config = Icm20948Config { rate_hz: 7, ..Icm20948Config::default() };
    refused(Icm20948::new(absent(), config, &mut clock).map(|_| ()).unwrap_err());
    let config = Lsm6dsoxConfig { rate_hz: 7, ..Lsm6dsoxConfig::default() };
    refused(Lsm6dsox::new(absent(), config).map(|_| ()).unwrap_err());
    let config = BmiConfig { rate_hz: 7, ..BmiConfig::default() };
    refused(Bmi::new(absent(), BmiChip::Bmi160, config, &[], &mut clock).map(|_| ()).unwrap_err());
}
