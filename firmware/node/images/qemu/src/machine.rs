//! The machine: Arm's MPS2 with the AN385 image, as QEMU has it. A UART and a timer of the CMSDK, at 25 MHz.

use core::cell::Cell;
use core::ptr::{read_volatile, write_volatile};

use critical_section::Mutex;

const CLOCK_MHZ: u32 = 25;
/// CMSDK timer 0.
const TIMER: usize = 0x4000_0000;
const TIMER_CONTROL: usize = TIMER;
const TIMER_VALUE: usize = TIMER + 4;
const TIMER_RELOAD: usize = TIMER + 8;
/// CMSDK UART 0.
const UART: usize = 0x4000_4000;
const UART_DATA: usize = UART;
const UART_STATE: usize = UART + 4;
const UART_CONTROL: usize = UART + 8;
const UART_INTERRUPT: usize = UART + 12;
const UART_DIVIDER: usize = UART + 16;
const TRANSMIT_FULL: u32 = 1;
const RECEIVE_FULL: u32 = 1 << 1;
/// Transmit, receive, and an interrupt when a byte has come.
const UART_ON: u32 = 1 | 1 << 1 | 1 << 3;
const RECEIVED: u32 = 1 << 1;
/// Interrupt of UART 0's receiver.
const UART_IRQ: u16 = 0;
/// Time between two steps of the node without a byte: half a millisecond.
const STEP: u32 = CLOCK_MHZ * 500;

#[derive(Clone, Copy)]
struct Uart0Receive;

// SAFETY: the number of an interrupt that the machine has.
unsafe impl cortex_m::interrupt::InterruptNumber for Uart0Receive {
    fn number(self) -> u16 {
        UART_IRQ
    }
}

fn read(register: usize) -> u32 {
    // SAFETY: a register of the machine, aligned; reading it has no effect on memory.
    unsafe { read_volatile(register as *const u32) }
}

fn write(register: usize, value: u32) {
    // SAFETY: a register of the machine, aligned; none of those here writes to memory.
    unsafe { write_volatile(register as *mut u32, value) }
}

/// Ticks counted so far, and the timer's last value.
static TICKS: Mutex<Cell<(u64, u32)>> = Mutex::new(Cell::new((0, u32::MAX)));

/// Microseconds since the start. To be asked once in 171 seconds at least, the time in which the timer wraps.
pub fn micros() -> u64 {
    critical_section::with(|token| {
        let cell = TICKS.borrow(token);
        let (ticks, last) = cell.get();
        // It counts down.
        let value = read(TIMER_VALUE);
        let ticks = ticks + u64::from(last.wrapping_sub(value));
        cell.set((ticks, value));
        ticks / u64::from(CLOCK_MHZ)
    })
}

/// The UART, and the processor's rest.
pub struct Machine {
    syst: cortex_m::peripheral::SYST,
}

impl Machine {
    /// Starts timer and UART. Interrupts stay masked: they end a rest, and no more.
    pub fn start() -> Self {
        cortex_m::interrupt::disable();
        write(TIMER_RELOAD, u32::MAX);
        write(TIMER_VALUE, u32::MAX);
        write(TIMER_CONTROL, 1);
        write(UART_DIVIDER, 27);
        write(UART_CONTROL, UART_ON);
        // SAFETY: taken once, here.
        let mut syst = unsafe { cortex_m::Peripherals::steal() }.SYST;
        syst.set_clock_source(cortex_m::peripheral::syst::SystClkSource::Core);
        syst.set_reload(STEP - 1);
        syst.clear_current();
        syst.enable_interrupt();
        syst.enable_counter();
        // SAFETY: masked as all are.
        unsafe { cortex_m::peripheral::NVIC::unmask(Uart0Receive) };
        Self { syst }
    }

    /// A byte that has come.
    pub fn receive(&mut self) -> Option<u8> {
        (read(UART_STATE) & RECEIVE_FULL != 0).then(|| read(UART_DATA) as u8)
    }

    /// Sends a byte, or answers that there is no room yet.
    pub fn send(&mut self, byte: u8) -> bool {
        let has_room = read(UART_STATE) & TRANSMIT_FULL == 0;
        if has_room {
            write(UART_DATA, u32::from(byte));
        }
        has_room
    }

    /// Waits for a byte or the next step.
    pub fn rest(&mut self) {
        cortex_m::asm::wfi();
        // Reading it forgets that it has run down.
        let _ = self.syst.has_wrapped();
        cortex_m::peripheral::SCB::clear_pendst();
        write(UART_INTERRUPT, RECEIVED);
        cortex_m::peripheral::NVIC::unpend(Uart0Receive);
    }
}
