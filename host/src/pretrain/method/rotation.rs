//! Prediction of image rotations (Gidaris et al. 2018): every image of a batch is seen turned by 0, 90, 180
//! and 270 degrees, and the encoder is trained to tell which, by cross entropy. Views are square.

use ndarray::{Array2, ArrayD, Axis, concatenate};
use sedge_models::Modality;
use sedge_models::compile::VIEWS;
use sedge_models::objective::Objective;
use serde::{Deserialize, Serialize};

use super::{Known, Pretext, Setup, Strength};
use crate::data::{DataError, Draw, Inputs, Sampler};
use crate::pretrain::ConfigError;

/// Quarter turns told apart.
const TURNS: usize = 4;

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {}

/// Rotation prediction on one encoder.
#[derive(Debug)]
pub(super) struct Rotation;

impl Known for Rotation {
    type Settings = Settings;

    const FITS: &'static [Modality] = &[Modality::Image];
    const VIEWS: Strength = Strength::Light;

    fn new(_: Settings, setup: Setup<'_>) -> Result<Self, ConfigError> {
        match *setup.input.shape.as_slice() {
            [_, rows, columns] if rows == columns => Ok(Self),
            _ => Err(ConfigError::Value {
                field: "method",
                found: format!("rotation on samples of shape {:?}", setup.input.shape),
                wanted: "on square images; give `--image-size`".into(),
            }),
        }
    }
}

impl Pretext for Rotation {
    fn objective(&self) -> Objective {
        Objective::CrossEntropy { classes: TURNS }
    }

    fn rows(&self, samples: usize) -> usize {
        TURNS * samples
    }
}

impl Sampler for Rotation {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        let upright = draw.views(1)?;
        let all: Vec<ArrayD<f32>> = (0..TURNS).map(|turns| turned(&upright, turns)).collect();
        let views: Vec<_> = all.iter().map(|turned| turned.view()).collect();
        // Every turn has the shape of a square.
        let views = concatenate(Axis(0), &views).unwrap_or(upright);
        let samples = draw.len().max(1);
        let targets = Array2::from_shape_fn((TURNS * draw.len(), TURNS), |(row, turns)| {
            f32::from(u8::from(row / samples == turns))
        });
        Ok(vec![(VIEWS.into(), views), ("targets".into(), targets.into_dyn())])
    }
}

/// `images` `[batch, channels, rows, columns]` turned counter-clockwise by so many quarters.
fn turned(images: &ArrayD<f32>, turns: usize) -> ArrayD<f32> {
    let mut view = images.view();
    let (rows, columns) = (Axis(2), Axis(3));
    match turns {
        1 => {
            view.invert_axis(columns);
            view.swap_axes(2, 3);
        }
        2 => {
            view.invert_axis(rows);
            view.invert_axis(columns);
        }
        3 => {
            view.swap_axes(2, 3);
            view.invert_axis(columns);
        }
        _ => {}
    }
    view.as_standard_layout().into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ndarray::IxDyn;

    #[test]
    fn a_quarter_turn_brings_the_right_edge_to_the_top() {
        let n = 3;
        let images = ArrayD::from_shape_fn(IxDyn(&[2, 2, n, n]), |at| {
            (1000 * at[0] + 100 * at[1] + 10 * at[2] + at[3]) as f32
        });
        let mut expected = images.clone();
        for turns in 0..TURNS {
            assert_eq!(turned(&images, turns), expected, "{turns} turns");
            let before = expected.clone();
            expected =
                ArrayD::from_shape_fn(before.raw_dim(), |at| before[[at[0], at[1], at[3], n - 1 - at[2]]]);
        }
        assert_eq!(expected, images);
    }
}
