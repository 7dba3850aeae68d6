//! Limited-memory BFGS with the two-loop recursion and backtracking (Nocedal, 1980; Nocedal & Wright,
//! 2006, algorithms 7.4 and 3.1): what minimises the probe's smooth, strongly convex loss. Plain f64
//! on one thread, so that equal input gives equal output.

use std::collections::VecDeque;

/// Steps whose curvature is remembered.
const MEMORY: usize = 10;
/// The share of the promised decrease that a step must bring (Armijo, 1966).
const SUFFICIENT: f64 = 1e-4;
/// Halvings before a direction is given up as exhausted by rounding.
const MAX_HALVINGS: usize = 40;

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    /// Iterations at most.
    pub max_iterations: usize,
    /// The largest gradient entry that counts as zero.
    pub gradient: f64,
    /// The decrease, relative to the value, that counts as none.
    pub decrease: f64,
}

/// Where it stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    /// Iterations made.
    pub iterations: usize,
    /// Whether it stopped because it was there, and not because iterations ran out.
    pub converged: bool,
}

/// A step `s` and the change `y` of the gradient along it.
struct Curvature {
    s: Vec<f64>,
    y: Vec<f64>,
    /// `s · y`, positive for every pair that is kept.
    product: f64,
    /// `y · H y`, with `H` the preconditioner.
    guessed: f64,
}

/// Moves `x` to the minimum of `value_and_gradient`, which writes the gradient at its first argument
/// into its second and returns the value. `precondition` multiplies a vector by a guess at the inverse
/// Hessian, up to scale: symmetric, positive definite, and the same at each call.
pub(super) fn minimise(
    x: &mut Vec<f64>,
    stop: Stop,
    precondition: impl Fn(&mut [f64]),
    mut value_and_gradient: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Outcome {
    let mut gradient = vec![0.0; x.len()];
    let mut value = value_and_gradient(x, &mut gradient);
    let mut past: VecDeque<Curvature> = VecDeque::with_capacity(MEMORY + 1);
    let mut trial = x.clone();
    let mut trial_gradient = gradient.clone();
    for iterations in 0..stop.max_iterations {
        if gradient.iter().all(|g| g.abs() <= stop.gradient) {
            return Outcome { iterations, converged: true };
        }
        let mut direction = two_loop(&past, &gradient, &precondition);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            // Rounding has spoilt the curvature: start again from none.
            past.clear();
            direction = two_loop(&past, &gradient, &precondition);
            slope = dot(&direction, &gradient);
        }
        // Without curvature the scale of a step is unknown; length 1 is a cautious first guess.
        let mut step = if past.is_empty() { 1.0 / (-slope).sqrt().max(1.0) } else { 1.0 };
        let mut trial_value = f64::INFINITY;
        let mut accepted = false;
        for _ in 0..MAX_HALVINGS {
            for ((t, x), d) in trial.iter_mut().zip(x.iter()).zip(&direction) {
                *t = x + step * d;
            }
            trial_value = value_and_gradient(&trial, &mut trial_gradient);
            if trial_value <= value + SUFFICIENT * step * slope {
                accepted = true;
                break;
            }
            step *= 0.5;
        }
        if !accepted {
            // No step down can be told from rounding: this is the minimum as far as f64 sees.
            return Outcome { iterations, converged: true };
        }
        if let Some(pair) = curvature(x, &trial, &gradient, &trial_gradient, &precondition) {
            past.push_back(pair);
            if past.len() > MEMORY {
                past.pop_front();
            }
        }
        let decrease = value - trial_value;
        std::mem::swap(x, &mut trial);
        std::mem::swap(&mut gradient, &mut trial_gradient);
        value = trial_value;
        if decrease <= stop.decrease * value.abs().max(1e-12) {
            return Outcome { iterations: iterations + 1, converged: true };
        }
    }
    Outcome { iterations: stop.max_iterations, converged: false }
}

/// The quasi-Newton direction `-H g`, with `H` the inverse Hessian as the remembered pairs have it.
fn two_loop(past: &VecDeque<Curvature>, gradient: &[f64], precondition: &impl Fn(&mut [f64])) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut alphas = Vec::with_capacity(past.len());
    for pair in past.iter().rev() {
        let alpha = dot(&pair.s, &q) / pair.product;
        add(&mut q, -alpha, &pair.y);
        alphas.push(alpha);
    }
    precondition(&mut q);
    if let Some(last) = past.back() {
        // The scale at which the guess agrees with the curvature last seen.
        let scale = last.product / last.guessed;
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for (pair, alpha) in past.iter().zip(alphas.into_iter().rev()) {
        let beta = dot(&pair.y, &q) / pair.product;
        add(&mut q, alpha - beta, &pair.s);
    }
    q
}

/// The pair of a step; `None` without clear positive curvature, as the next direction could then point
/// anywhere.
fn curvature(
    x: &[f64],
    next: &[f64],
    g: &[f64],
    next_g: &[f64],
    precondition: &impl Fn(&mut [f64]),
) -> Option<Curvature> {
    let difference = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>();
    let (s, y) = (difference(next, x), difference(next_g, g));
    let product = dot(&s, &y);
    let mut hy = y.clone();
    precondition(&mut hy);
    let guessed = dot(&y, &hy);
    let clear = product > 1e-12 * dot(&y, &y).sqrt() * dot(&s, &s).sqrt() && guessed > 0.0;
    clear.then_some(Curvature { s, y, product, guessed })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], scale: f64, what: &[f64]) {
    for (to, what) in to.iter_mut().zip(what) {
        *to += scale * what;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIGHT: Stop = Stop { max_iterations: 500, gradient: 1e-10, decrease: 0.0 };

    #[test]
    fn a_badly_scaled_bowl_is_descended() {
        // Curvatures from 1 to 100; the minimum is known.
        let curvature = |i: usize| 10_f64.powf(i as f64 / 10.0);
        let mut x = vec![0.0; 21];
        let outcome = minimise(
            &mut x,
            TIGHT,
            |_| {},
            |x, g| {
                let mut value = 0.0;
                for (i, (x, g)) in x.iter().zip(g).enumerate() {
                    let off = x - i as f64;
                    value += 0.5 * curvature(i) * off * off;
                    *g = curvature(i) * off;
                }
                value
            },
        );
        assert!(outcome.converged && outcome.iterations < 200, "{outcome:?}");
        for (i, x) in x.iter().enumerate() {
            assert!((x - i as f64).abs() < 1e-6, "{i}: {x}");
        }
    }

    #[test]
    fn a_good_guess_at_the_curvature_makes_a_hard_bowl_easy() {
        // Curvatures from 1 to 1e8, guessed to within a factor of two.
        let curvature = |i: usize| 10_f64.powi(i as i32);
        let mut x = vec![0.0; 9];
        let stop = Stop { gradient: 1e-6, ..TIGHT };
        let guess = |v: &mut [f64]| {
            v.iter_mut().enumerate().for_each(|(i, v)| *v /= curvature(i) * (1.0 + (i % 2) as f64));
        };
        let outcome = minimise(&mut x, stop, guess, |x, g| {
            let mut value = 0.0;
            for (i, (x, g)) in x.iter().zip(g).enumerate() {
                let off = x - 1.0;
                value += 0.5 * curvature(i) * off * off;
                *g = curvature(i) * off;
            }
            value
        });
        assert!(outcome.converged && outcome.iterations < 30, "{outcome:?}");
        assert!(x.iter().all(|x| (x - 1.0).abs() < 1e-5), "{x:?}");
    }

    #[test]
    fn the_bent_valley_is_followed() {
        // Rosenbrock's (1960) function is not convex: the line search must earn its keep.
        let mut x = vec![-1.2, 1.0];
        let outcome = minimise(
            &mut x,
            TIGHT,
            |_| {},
            |x, g| {
                let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
                g[0] = -2.0 * a - 400.0 * x[0] * b;
                g[1] = 200.0 * b;
                a * a + 100.0 * b * b
            },
        );
        assert!(outcome.converged, "{outcome:?}");
        assert!((x[0] - 1.0).abs() < 1e-6 && (x[1] - 1.0).abs() < 1e-6, "{x:?}");
    }

    #[test]
    fn iterations_are_bounded_and_said_to_have_run_out() {
        let mut x = vec![-1.2, 1.0];
        let stop = Stop { max_iterations: 3, ..TIGHT };
        let outcome = minimise(
            &mut x,
            stop,
            |_| {},
            |x, g| {
                let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
                g[0] = -2.0 * a - 400.0 * x[0] * b;
                g[1] = 200.0 * b;
                a * a + 100.0 * b * b
            },
        );
        assert_eq!((outcome.iterations, outcome.converged), (3, false));
    }
}
