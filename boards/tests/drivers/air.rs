//! Thermometers, barometers, hygrometers and the magnetometer, from registers to units.

use sedge_boards::environment::{Bme280, Dps310, Identity, Lm75, Lm75Chip, Lsm303dlhc};
use sedge_boards::registers::{OverI2c, OverSpi, SensorError};

use crate::chip::{AtAddress, Chip, Clock, Nobody, Selected};

fn at<const ADDRESS: u8>(chip: Chip) -> OverI2c<AtAddress> {
    OverI2c::new(AtAddress(ADDRESS, chip), ADDRESS)
}

/// A BME280 with the calibration and the counts of Bosch's worked example, and humidity halfway.
fn bme280() -> Chip {
    let words: [i32; 12] = [27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000];
    let bytes: Vec<u8> = words.iter().flat_map(|word| (*word as u16).to_le_bytes()).collect();
    let (pressure, temperature) = (415_148u32 << 4, 519_888u32 << 4);
    let [_, p2, p1, p0] = pressure.to_be_bytes();
    let [_, t2, t1, t0] = temperature.to_be_bytes();
    Chip::new()
        .with(0xD0, &[0x60])
        .with(0x88, &bytes)
        .with(0xA1, &[75])
        .with(0xE1, &[0x72, 0x01, 0, 0x13, 0x29, 0x03, 0x1E])
        .with(0xF7, &[p2, p1, p0, t2, t1, t0, 0x70, 0x00])
}

#[test]
fn a_bme280_gives_the_makers_example() {
    let mut clock = Clock::default();
    let mut air = Bme280::new(at::<0x76>(bme280()), &mut clock).unwrap();
    assert!(clock.ns >= 10_000_000);
    let found = air.environment().unwrap();
    assert!((found.temperature.unwrap().0 - 25.08).abs() < 0.005, "{found:?}");
    assert!((found.pressure.unwrap().0 - 100_653.27).abs() < 0.05, "{found:?}");
    assert!((0.0..=100.0).contains(&found.humidity.unwrap().0), "{found:?}");
    let chip = &mut air.registers_mut().bus_mut().1;
    // Humidity's oversampling must be written before the register that makes it count.
    let order: Vec<u8> = chip.writes.iter().map(|(register, _)| *register).collect();
    assert_eq!(order, [0xE0, 0xF2, 0xF5, 0xF4]);
    // Nothing measured yet: 0x80000.
    chip.poke(0xF7, &[0x80, 0, 0, 0x80, 0, 0, 0x80, 0]);
    assert!(matches!(air.environment(), Err(SensorError::NotReady { .. })));
}

#[test]
fn a_bme280_over_spi_drops_the_highest_bit_of_a_write() {
    // Over SPI the register's seventh bit is the direction, so its map folds onto seven bits.
    let mut chip = Chip::new();
    for register in 0x80..=0xFFu8 {
        let value = bme280().peek(register);
        chip.poke(register & 0x7F, &[value]);
    }
    let mut air = Bme280::new(OverSpi::new(Selected(chip)), &mut Clock::default()).unwrap();
    assert!((air.environment().unwrap().temperature.unwrap().0 - 25.08).abs() < 0.005);
    assert_eq!(air.registers_mut().device_mut().0.peek(0x74), 0x27);
}

#[test]
fn a_bmp280_is_not_taken_for_a_bme280() {
    let error =
        Bme280::new(at::<0x76>(bme280().with(0xD0, &[0x58])), &mut Clock::default()).map(|_| ()).unwrap_err();
    assert!(matches!(error, SensorError::WrongChip { found: 0x58, expected: [0x60], .. }), "{error}");
}

/// A DPS310 as QEMU models it: the same registers after reset, and MEAS_CFG stored as it is written.
fn dps310() -> Chip {
    let registers = [
        0xfe, 0x2f, 0xee, 0x02, 0x69, 0xa6, 0x00, 0x80, 0xf0, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x0e,
        0x1e, 0xdd, 0x13, 0xca, 0x5f, 0x21, 0x52, 0xf9, 0xc6, 0x04, 0xd1, 0xdb, 0x47, 0x00, 0x5b, 0xfb, 0x3a,
        0x00, 0x00, 0x20, 0x49, 0x4e, 0xa5, 0x90, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x60, 0x15, 0x02,
    ];
    Chip::new().with(0, &registers)
}

#[test]
fn a_dps310_gives_what_its_calibration_says() {
    let mut air = Dps310::new(at::<0x77>(dps310()), Identity::Checked, 4, &mut Clock::default()).unwrap();
    let found = air.environment().unwrap();
    assert!((found.temperature.unwrap().0 - 24.738).abs() < 0.01, "{found:?}");
    assert!((found.pressure.unwrap().0 - 92_946.3).abs() < 0.5, "{found:?}");
    let chip = &mut air.registers_mut().bus_mut().1;
    // 4 Hz is 2 in bits 6:4; the thermometer is the one that calibration was made with; ready bits are kept.
    assert_eq!([0x06, 0x07, 0x08].map(|register| chip.peek(register)), [0x20, 0xA0, 0xF7]);
    assert!(chip.written(0x62).is_empty(), "the cure is for chips that need it");
}

#[test]
fn a_dps310_without_the_fuse_is_cured_and_one_without_an_identity_can_be_trusted() {
    let unfused = dps310().with(0x32, &[0]);
    let mut air = Dps310::new(at::<0x77>(unfused), Identity::Checked, 1, &mut Clock::default()).unwrap();
    let chip = &air.registers_mut().bus_mut().1;
    assert_eq!(
        (chip.written(0x0E), chip.written(0x0F), chip.written(0x62)),
        (vec![0xA5, 0], vec![0x96, 0], vec![2])
    );
    let open =
        |identity| Dps310::new(at::<0x77>(dps310().with(0x0D, &[0xFF])), identity, 1, &mut Clock::default());
    assert!(matches!(open(Identity::Checked).map(|_| ()), Err(SensorError::WrongChip { found: 0xFF, .. })));
    open(Identity::Trusted).unwrap();
}

#[test]
fn a_dps310_that_never_gets_ready_is_given_up_in_time() {
    let mut clock = Clock::default();
    let error = Dps310::new(at::<0x77>(dps310().with(0x08, &[0])), Identity::Checked, 1, &mut clock)
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, SensorError::NotReady { .. }), "{error}");
    assert!((40_000_000..2_000_000_000).contains(&clock.ns), "{}", clock.ns);
}

/// A chip whose temperature is two bytes at one address.
fn thermometer(bytes: [u8; 2]) -> Chip {
    Chip::new().queue_at(0, 0).holding(&bytes)
}

#[test]
fn thermometers_without_identity_are_known_by_taking_their_settings() {
    let mut heat = Lm75::new(at::<0x48>(thermometer([0x19, 0x40])), Lm75Chip::Tmp105).unwrap();
    assert_eq!(heat.environment().unwrap().temperature.unwrap().0, 25.25);
    assert_eq!(heat.registers_mut().bus_mut().1.peek(1), 0x60);
    // An LM75 has no resolution to set; what it has above its five bits is left alone.
    let mut heat = Lm75::new(at::<0x4F>(thermometer([0xE7, 0x00])), Lm75Chip::Lm75).unwrap();
    assert_eq!(heat.environment().unwrap().temperature.unwrap().0, -25.0);
    let deaf = Chip::new().read_only(1..=1);
    let error = Lm75::new(at::<0x48>(deaf), Lm75Chip::Tmp105).map(|_| ()).unwrap_err();
    assert!(matches!(error, SensorError::NotTaken { register: "Config", .. }), "{error}");
}

fn magnetometer() -> Chip {
    Chip::new().with(0x00, &[0x10, 0x20, 0x03]).with(0x0A, b"H43").read_only(0x0A..=0x0C)
}

#[test]
fn the_magnetometer_gives_tesla_in_the_order_of_its_axes() {
    let mut compass = Lsm303dlhc::new(at::<0x1E>(magnetometer()), 15).unwrap();
    let chip = &mut compass.registers_mut().bus_mut().1;
    assert_eq!([0, 1, 2].map(|register| chip.peek(register)), [0x10, 0x20, 0x00]);
    // x 220, z -490, y 550: 0.2 gauss, -0.5, 0.5.
    let bytes: Vec<u8> = [220i16, -490, 550].into_iter().flat_map(i16::to_be_bytes).collect();
    chip.poke(0x03, &bytes);
    let field = compass.field().unwrap().0;
    for (found, wanted) in field.into_iter().zip([20e-6, 50e-6, -50e-6]) {
        assert!((found - wanted).abs() < 1e-9, "{field:?}");
    }
    compass.registers_mut().bus_mut().1.poke(0x05, &(-4096i16).to_be_bytes());
    assert!(matches!(compass.field(), Err(SensorError::Saturated { .. })));
}

#[test]
fn each_letter_of_the_magnetometers_identity_counts() {
    for (at_byte, name) in ["IdentityA", "IdentityB", "IdentityC"].into_iter().enumerate() {
        let other = magnetometer().with(0x0A + at_byte as u8, b"?");
        let error: SensorError<Nobody> = Lsm303dlhc::new(at::<0x1E>(other), 15).map(|_| ()).unwrap_err();
        assert!(
            matches!(error, SensorError::WrongChip { register, found: b'?', .. } if register == name),
            "{error}"
        );
    }
}
