//! The node on a Raspberry Pi Pico (RP2040) or Pico 2 (RP2350), which have the same pins.
//!
//! | pin | what |
//! |---|---|
//! | GP0, GP1 | UART0, to and from the host: 921600 baud, 8N1 |
//! | GP4, GP5 | I2C0, data and clock of an MPU-6050 at 0x68: 400 kHz, pulled up on the breakout |
//!
//! A watchdog resets a node whose bus hangs; its host sees that it says hello and sets it up again.
#![no_std]
#![no_main]

use core::cell::RefCell;
use core::task::Poll;

use embassy_executor::Spawner;
use embassy_futures::poll_once;
use embassy_futures::select::{Either, select};
use embassy_rp::bind_interrupts;
use embassy_rp::i2c::{self, I2c};
use embassy_rp::peripherals::UART0;
use embassy_rp::uart::{self, BufferedInterruptHandler, BufferedUart};
use embassy_rp::watchdog::Watchdog;
use embassy_time::{Duration, Instant, Ticker};
use embedded_io_async::{Read, Write};
use panic_halt as _;
use sedge_boards::imu::MpuChip;
use sedge_boards::imu::mpu_registers::DEFAULT_ADDRESS;
use sedge_boards::registers::OverI2c;
use sedge_node::{MpuImu, Node, SharedBus, logger};
use sedge_wire::Settings;

const BAUD: u32 = 921_600;
/// Time between two steps of the node without a byte.
const STEP: Duration = Duration::from_micros(500);
/// A step takes a few milliseconds where a chip is opened, and else less than one.
const HUNG: Duration = Duration::from_secs(1);
/// Bytes of one step that wait for the line.
const WAITING: usize = 1024;

bind_interrupts!(struct Irqs {
    UART0_IRQ => BufferedInterruptHandler<UART0>;
});

defmt::timestamp!("{=u64:us}", Instant::now().as_micros());

#[embassy_executor::main]
async fn main(_spawner: Spawner) {
    let board = embassy_rp::init(embassy_rp::config::Config::default());
    let mut bus = i2c::Config::default();
    bus.frequency = 400_000;
    let bus = RefCell::new(I2c::new_blocking(board.I2C0, board.PIN_5, board.PIN_4, bus));
    let imu = MpuImu::new(MpuChip::Mpu6050, || OverI2c::new(SharedBus::new(&bus), DEFAULT_ADDRESS));
    let mut line = uart::Config::default();
    line.baudrate = BAUD;
    // They live as long as the program: this never returns.
    let (mut sent, mut received) = ([0; 512], [0; 512]);
    let uart =
        BufferedUart::new(board.UART0, board.PIN_0, board.PIN_1, Irqs, &mut sent, &mut received, line);
    let (mut transmit, mut receive) = uart.split();
    let mut watchdog = Watchdog::new(board.WATCHDOG);
    watchdog.start(HUNG);
    let mut node = Node::new(imu, Settings::default(), logger::take);
    let (mut came, mut out) = ([0; 64], [0; WAITING]);
    // What of `out` waits to be written.
    let mut waiting = 0..0;
    let mut ticker = Ticker::every(STEP);
    defmt::info!("{=str} {=str}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    loop {
        let count = match select(receive.read(&mut came), ticker.next()).await {
            Either::First(Ok(count)) => count,
            // A broken byte breaks its frame, which the check finds.
            Either::First(Err(_)) | Either::Second(()) => 0,
        };
        watchdog.feed(HUNG);
        // Bytes are read also while the line is full: what waits is kept, and there is no room for more.
        let begin = if waiting.is_empty() { 0 } else { WAITING };
        let made = node.poll(Instant::now().as_micros(), &came[..count], &mut out[begin..]);
        if made > 0 {
            waiting = 0..made;
        }
        while !waiting.is_empty()
            && let Poll::Ready(Ok(written)) = poll_once(transmit.write(&out[waiting.clone()]))
        {
            waiting.start += written;
        }
    }
}
