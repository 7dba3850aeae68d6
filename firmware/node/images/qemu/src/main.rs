//! The node's core on an emulated Cortex-M3, its line on the machine's first UART and its chip simulated. What
//! runs here is what runs on a board, down to the instructions; only clock, UART and chip are others.
//!
//! ```text
//! qemu-system-arm -machine mps2-an385 -nographic -serial unix:node.sock,server=on -kernel sedge-node-qemu
//! ```
#![no_std]
#![no_main]

mod chip;
mod machine;

use core::cell::RefCell;

use heapless::{Deque, Vec};
use panic_halt as _;
use sedge_boards::imu::MpuChip;
use sedge_boards::registers::OverI2c;
use sedge_node::{MpuImu, Node, SharedBus, logger};
use sedge_wire::Settings;

use chip::SimulatedMpu;
use machine::Machine;

/// Bytes that wait for the line.
const WAITING: usize = 1024;

defmt::timestamp!("{=u64:us}", machine::micros());

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut machine = Machine::start();
    let bus = RefCell::new(SimulatedMpu::new(machine::micros));
    let imu = MpuImu::new(MpuChip::Mpu6050, || OverI2c::new(SharedBus::new(&bus), chip::ADDRESS));
    let mut node = Node::new(imu, Settings::default(), logger::take);
    let (mut received, mut out) = (Vec::<u8, 64>::new(), [0; WAITING]);
    let mut waiting = Deque::<u8, WAITING>::new();
    defmt::info!("sedge-node-qemu {=str}", env!("CARGO_PKG_VERSION"));
    loop {
        received.clear();
        while !received.is_full()
            && let Some(byte) = machine.receive()
        {
            // There is room: it was looked for.
            let _ = received.push(byte);
        }
        let room = WAITING - waiting.len();
        let count = node.poll(machine::micros(), &received, &mut out[..room]);
        for &byte in &out[..count] {
            let _ = waiting.push_back(byte);
        }
        while let Some(&byte) = waiting.front()
            && machine.send(byte)
        {
            waiting.pop_front();
        }
        machine.rest();
    }
}
