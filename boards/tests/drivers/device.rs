//! A sensor of a board file, opened by its chip's name.

use sedge_boards::board::{Board, SensorChip, SensorSpec};
use sedge_boards::device::Device;
use sedge_boards::registers::{OverI2c, SensorError};
use sedge_readings::{Measurement, NoData};

use crate::chip::{AtAddress, Chip, Clock};

fn spec(board: &str, name: &str) -> SensorSpec {
    let board = Board::named(board).unwrap();
    board.sensors.into_iter().find(|sensor| sensor.name == name).unwrap()
}

#[test]
fn the_chip_in_the_file_names_the_driver() {
    let spec = spec("virtual-pi", "board-heat");
    let registers = OverI2c::new(AtAddress(0x48, Chip::new().queue_at(0, 0).holding(&[0x32, 0])), 0x48);
    let mut device = Device::open(registers, &spec, &[], &mut Clock::default()).unwrap();
    let Measurement::Environment(environment) = device.measure().unwrap() else { panic!("no air") };
    assert_eq!(environment.temperature.unwrap().0, 50.0);
    assert!(!device.start_queue().unwrap());
}

#[test]
fn every_chip_but_the_kernels_has_a_driver_that_asks_for_it() {
    for chip in SensorChip::ALL {
        let mut spec = SensorSpec { chip, ..spec("rpi4", "imu") };
        spec.rate_hz = (1..2000).rev().find(|hz| chip.has_rate(*hz)).unwrap();
        let absent = Chip::new().absent();
        let registers = OverI2c::new(AtAddress(0x68, absent), 0x68);
        let error = Device::open(registers, &spec, &[], &mut Clock::default()).map(|_| ()).unwrap_err();
        let asked = matches!(error, SensorError::Bus { .. });
        assert_eq!(asked, chip != SensorChip::Iio, "{chip}: {error}");
        assert_eq!(error.no_data(), NoData::Bus);
    }
}
