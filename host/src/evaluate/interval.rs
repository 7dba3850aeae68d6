//! How sure a mean over seeds is. With five seeds the normal quantile would make intervals a third
//! too narrow, so Student's t is used ("Student", 1908), its quantile found from the incomplete
//! beta function and not from a table that ends somewhere.

use serde::{Deserialize, Serialize};

/// The share of intervals that are to hold the true mean.
pub const CONFIDENCE: f64 = 0.95;

/// A mean with its 95 % confidence interval, in the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Half the width of the interval; absent for a single value, which says nothing of its spread.
    pub half_width: Option<f64>,
    /// How many values were averaged.
    pub n: usize,
}

impl Interval {
    /// The mean of `values` with its Student-t interval; `None` when there are none, or when one is
    /// not finite.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let half_width = (n > 1).then(|| {
            let freedom = (n - 1) as f64;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / freedom;
            t_quantile(0.5 + CONFIDENCE / 2.0, n - 1) * (variance / n as f64).sqrt()
        });
        Some(Self { mean, half_width, n })
    }

    /// The interval of `a[i] - b[i]`: the right one where both were measured under the same seeds,
    /// as what a seed does to both then cancels. `None` when the lengths differ.
    pub fn of_differences(a: &[f64], b: &[f64]) -> Option<Self> {
        if a.len() != b.len() {
            return None;
        }
        Self::of(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
    }

    /// The lower and upper end; both are the mean where there is no width.
    pub fn ends(&self) -> (f64, f64) {
        let half_width = self.half_width.unwrap_or(0.0);
        (self.mean - half_width, self.mean + half_width)
    }

    /// Whether the interval leaves zero out: of a difference, that its sign is beyond the noise of
    /// the seeds. Never so for a single value.
    pub fn excludes_zero(&self) -> bool {
        let (low, high) = self.ends();
        self.half_width.is_some() && (low > 0.0 || high < 0.0)
    }

    /// As a percentage of one, such as `71.3 ± 1.2`.
    pub fn percent(&self) -> String {
        match self.half_width {
            Some(half_width) => format!("{:.1} ± {:.1}", 100.0 * self.mean, 100.0 * half_width),
            None => format!("{:.1}", 100.0 * self.mean),
        }
    }

    /// As [`Interval::percent`], always with a sign: for differences.
    pub fn signed_percent(&self) -> String {
        match self.half_width {
            Some(half_width) => format!("{:+.1} ± {:.1}", 100.0 * self.mean, 100.0 * half_width),
            None => format!("{:+.1}", 100.0 * self.mean),
        }
    }
}

/// The quantile of Student's t: the value below which a share `p` of it lies. `p` is held to 1e-12 ..
/// 1 - 1e-12, and a `freedom` of 0 is read as 1.
pub fn t_quantile(p: f64, freedom: usize) -> f64 {
    let p = if p.is_nan() { 0.5 } else { p.clamp(1e-12, 1.0 - 1e-12) };
    if p < 0.5 {
        return -t_quantile(1.0 - p, freedom);
    }
    let freedom = freedom.max(1) as f64;
    let tail = 1.0 - p;
    let mut high = 1.0;
    // Ends: at one degree of freedom and the smallest tail the quantile is about 3e11, below 2^39.
    while upper_tail(high, freedom) > tail {
        high *= 2.0;
    }
    let mut low = 0.0;
    // Each step halves the bracket; after 200 it is a single number long before.
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if upper_tail(middle, freedom) > tail {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The share of Student's t above `t`, for `t` of at least 0.
fn upper_tail(t: f64, freedom: f64) -> f64 {
    let square = t * t;
    let whole = freedom + square;
    0.5 * incomplete_beta(freedom / 2.0, 0.5, freedom / whole, square / whole)
}

/// The regularised incomplete beta function at `x`, with `y` = 1 - `x` given apart to keep its digits.
fn incomplete_beta(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if y <= 0.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * y.ln()).exp();
    // The fraction converges quickly only on the near side of the mean.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, y) / b
    }
}

/// The continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method (1976).
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let keep_off_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / keep_off_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / keep_off_zero(1.0 + term * d);
            c = keep_off_zero(1.0 + term / c);
            change = c * d;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

/// The logarithm of the gamma function for positive `x`, after Lanczos (1964), with the nine
/// coefficients of Godfrey (2001) for g = 7.
fn ln_gamma(x: f64) -> f64 {
    const G: f64 = 7.0;
    const FIRST: f64 = 0.999_999_999_999_809_9;
    const REST: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // Reflection: the series is good only to the right of one half.
        let pi = std::f64::consts::PI;
        return (pi / (pi * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let sum = REST.iter().zip(1_u32..).fold(FIRST, |sum, (c, i)| sum + c / (x + f64::from(i)));
    let t = x + G + 0.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// From SciPy; see `goldens/evaluate.py`.
    #[derive(Deserialize)]
    struct Goldens {
        quantiles: Vec<(f64, usize, f64)>,
        interval: IntervalGolden,
    }

    #[derive(Deserialize)]
    struct IntervalGolden {
        values: Vec<f64>,
        mean: f64,
        low: f64,
        high: f64,
    }

    fn goldens() -> Goldens {
        serde_json::from_str(include_str!("../../goldens/interval.json")).unwrap()
    }

    #[test]
    fn quantiles_are_scipys() {
        for (p, freedom, wanted) in goldens().quantiles {
            let found = t_quantile(p, freedom);
            let off = (found - wanted).abs() / wanted.abs().max(1e-3);
            assert!(off < 1e-8, "p {p}, freedom {freedom}: {found}, not {wanted}");
        }
    }

    #[test]
    fn the_interval_is_scipys() {
        let golden = goldens().interval;
        let found = Interval::of(&golden.values).unwrap();
        let (low, high) = found.ends();
        for (found, wanted) in [(found.mean, golden.mean), (low, golden.low), (high, golden.high)] {
            assert!((found - wanted).abs() < 1e-10, "{found}, not {wanted}");
        }
    }

    #[test]
    fn one_degree_of_freedom_is_cauchy() {
        // The quantile of Cauchy's distribution in closed form.
        for p in [0.6_f64, 0.9, 0.975, 0.9999] {
            let wanted = (std::f64::consts::PI * (p - 0.5)).tan();
            assert!((t_quantile(p, 1) / wanted - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn what_a_seed_does_to_both_cancels() {
        let (a, b) = ([0.5, 0.7, 0.9], [0.4, 0.6, 0.8]);
        let difference = Interval::of_differences(&a, &b).unwrap();
        assert!((difference.mean - 0.1).abs() < 1e-12 && difference.half_width.unwrap() < 1e-12);
        assert!(difference.excludes_zero());
        assert!(Interval::of(&a).unwrap().half_width.unwrap() > 0.4);
        assert_eq!(Interval::of_differences(&a, &b[..2]), None);
    }

    #[test]
    fn a_single_value_claims_no_width_and_none_no_mean() {
        let single = Interval::of(&[0.713]).unwrap();
        assert_eq!(single, Interval { mean: 0.713, half_width: None, n: 1 });
        assert!(!single.excludes_zero());
        assert_eq!(single.percent(), "71.3");
        assert_eq!(Interval::of(&[]), None);
        assert_eq!(Interval::of(&[1.0, f64::NAN]), None);
        assert!(t_quantile(f64::NAN, 0).is_finite() && t_quantile(2.0, 1).is_finite());
    }
}
