//! The camera behind the lens: exposure, white balance, noise and eight bits.
//!
//! Exposure follows the scene with a lag, as cheap cameras do, and stops at its highest gain: at
//! dusk images grow dark and grainy together. Noise is shot noise of the electrons caught plus the
//! readout's own, both amplified by the gain (EMVA standard 1288).

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use sedge_readings::Frame;

use super::lens::Lens;
use super::random::noise_of;
use super::ray::View;
use super::render::{Air, OVERSAMPLING, Renderer};
use super::shift::Shift;
use super::world::World;

/// Electrons of a full pixel at unit gain.
const FULL_WELL: f32 = 3500.0;

/// Electrons of readout noise.
const READ_NOISE: f32 = 9.0;

/// Mean linear signal that the exposure steers to.
const EXPOSURE_TARGET: f32 = 0.22;
const GAINS: core::ops::RangeInclusive<f32> = 0.5..=4.0;

/// Share of the way to the wanted gain taken in one frame.
const EXPOSURE_LAG: f32 = 0.12;

/// Entries of the curve from linear signal to eight bits.
const CURVE: usize = 4096;

#[derive(Debug)]
pub(super) struct Camera {
    renderer: Renderer,
    lens: Lens,
    side: usize,
    gain: f32,
    curve: Vec<u8>,
    daylight: Daylight,
    shift: Shift,
    image: Vec<[f32; 3]>,
    rng: ChaCha8Rng,
}

/// Slow changes of the light and of the camera's white balance, by this drive's phases.
#[derive(Debug)]
struct Daylight {
    phases: [f64; 3],
}

impl Daylight {
    /// Colour of the light at a time, and the white balance's gains for red, green and blue.
    fn at(&self, seconds: f64, dusk: f32) -> ([f32; 3], [f32; 3]) {
        let [a, b, c] = self.phases;
        let wave =
            |period: f64, phase: f64| libm::sin(core::f64::consts::TAU * seconds / period + phase) as f32;
        let drift = 1.0 + 0.22 * wave(47.0, a) + 0.08 * wave(13.0, b);
        let level = drift * (1.0 - 0.90 * dusk);
        let warm = [1.0 + 0.35 * dusk, 1.0, 1.0 - 0.4 * dusk];
        let balance = 0.08 * wave(61.0, c);
        (warm.map(|channel| channel * level), [1.0 + balance, 1.0, 1.0 - balance])
    }
}

impl Camera {
    /// A camera of `side` pixels a side. `light` draws the day's phases, `pixels` the noise.
    pub fn new(
        side: usize,
        building_seed: u64,
        robot_seed: u64,
        shift: Shift,
        mut light: ChaCha8Rng,
        pixels: ChaCha8Rng,
    ) -> Self {
        let curve = (0..CURVE).map(|i| {
            let linear = i as f32 / (CURVE - 1) as f32;
            libm::rintf(255.0 * libm::powf(linear, 1.0 / 2.2)) as u8
        });
        Self {
            renderer: Renderer::new(side, building_seed),
            lens: Lens::new(side, robot_seed, shift.dirty_lens),
            side,
            gain: 1.0,
            curve: curve.collect(),
            daylight: Daylight { phases: [0; 3].map(|_| light.random_range(0.0..core::f64::consts::TAU)) },
            shift,
            image: vec![[0.0; 3]; side * side],
            rng: pixels,
        }
    }

    /// The frame seen from `view` at a time since the start, or `None` where pixels and size do not
    /// agree, which they do by construction.
    pub fn shoot(&mut self, world: &World, view: View, seconds: f64) -> Option<Frame> {
        let (light, balance) = self.daylight.at(seconds, self.shift.dusk);
        // Fog glows with the light that falls into it.
        let air = Air { extinction: 0.35 * self.shift.fog, glow: [0.32; 3] };
        let oversampled = self.renderer.side();
        let rendered = self.renderer.render(world, view, air);
        shrink(rendered, oversampled, self.side, light, &mut self.image);
        self.lens.pass(&mut self.image);
        let rgb = self.expose(balance);
        let side = self.side as u32;
        Frame::new(side, side, rgb).ok()
    }

    /// Electrons, gain, noise and the curve; then moves the gain for the next frame.
    fn expose(&mut self, balance: [f32; 3]) -> Vec<u8> {
        let mut rgb = Vec::with_capacity(self.image.len() * 3);
        let mut total = 0.0;
        let read_variance = (READ_NOISE / FULL_WELL) * (READ_NOISE / FULL_WELL);
        for pixel in &self.image {
            for (signal, balance) in pixel.iter().zip(balance) {
                let sigma = libm::sqrtf(signal / FULL_WELL + read_variance);
                let noisy = signal + sigma * noise_of(self.rng.next_u32());
                total += signal;
                let level = (noisy * balance * self.gain).clamp(0.0, 1.0);
                let index = (level * (CURVE - 1) as f32 + 0.5) as usize;
                rgb.push(self.curve.get(index).copied().unwrap_or(u8::MAX));
            }
        }
        let mean = total / (3 * self.image.len()) as f32;
        let wanted = (EXPOSURE_TARGET / mean.max(1e-4)).clamp(*GAINS.start(), *GAINS.end());
        self.gain += (wanted - self.gain) * EXPOSURE_LAG;
        rgb
    }
}

/// Averages rendered pixels (column by column) into camera pixels (row by row), under a light.
fn shrink(rendered: &[[f32; 3]], oversampled: usize, side: usize, light: [f32; 3], image: &mut [[f32; 3]]) {
    let share = 1.0 / (OVERSAMPLING * OVERSAMPLING) as f32;
    for (y, row) in image.chunks_exact_mut(side).enumerate() {
        for (x, pixel) in row.iter_mut().enumerate() {
            let mut sum = [0.0f32; 3];
            for dx in 0..OVERSAMPLING {
                let start = (x * OVERSAMPLING + dx) * oversampled + y * OVERSAMPLING;
                let few = rendered.get(start..start + OVERSAMPLING).unwrap_or_default();
                for sample in few {
                    sum.iter_mut().zip(sample).for_each(|(s, p)| *s += p);
                }
            }
            let [r, g, b] = sum;
            *pixel = [r * share * light[0], g * share * light[1], b * share * light[2]];
        }
    }
}
