//! Distillation of a large encoder into a small one (Romero et al. 2015; without labels Navaneet et al. 2021): the
//! teacher, any ONNX file or bundle, embeds the view that the student sees, brought to the teacher's size and
//! normalisation, and the student learns to predict the direction of that embedding. The teacher runs where batches
//! are made, outside the step, which is given its embeddings; so it may be of any size and of any operators.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ndarray::{Array2, ArrayD, ArrayView1, Axis, Slice};
use sedge_augment::{ImageSource, Size, normalise, resize_center};
use sedge_engine::{Encoder, Options};
use sedge_models::compile::VIEWS;
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::{InputSpec, Modality};
use serde::{Deserialize, Serialize};

use super::{IMAGES_AND_WINDOWS, Known, Pretext, Setup};
use crate::data::{DataError, Draw, Inputs, Sampler};
use crate::measure::Subject;
use crate::pretrain::{ConfigError, sha256_of_file};

/// Views that the teacher embeds at once: few, since its inputs and activations may be large.
const TEACHER_BATCH: usize = 16;
/// Means and deviations of ImageNet, by which nearly every public image encoder was trained.
const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// The teacher: an .onnx encoder or a .sedge bundle.
    teacher: PathBuf,
    /// Means that an .onnx teacher wants subtracted, one a channel. Left out, ImageNet's for images and the
    /// data's own for windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    mean: Option<Vec<f32>>,
    /// Deviations that it wants divided by, as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    std: Option<Vec<f32>>,
    /// Linear layers between the student's embedding and the teacher's: one as in Romero et al., more as in
    /// Navaneet et al.
    layers: usize,
    /// Width between the layers, where there is more than one.
    hidden: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { teacher: PathBuf::new(), mean: None, std: None, layers: 1, hidden: 256 }
    }
}

/// A large encoder, ready to be asked.
struct Teacher {
    encoder: Mutex<Encoder>,
    /// What it reads.
    input: InputSpec,
    dim: usize,
    /// SHA-256 of its file in hexadecimal.
    digest: String,
}

impl std::fmt::Debug for Teacher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Teacher").field("input", &self.input).field("dim", &self.dim).finish_non_exhaustive()
    }
}

/// The method on one student.
#[derive(Debug)]
pub(super) struct Distil {
    teacher: Teacher,
    head: ProjectionHead,
}

impl Known for Distil {
    type Settings = Settings;

    const FITS: &'static [Modality] = IMAGES_AND_WINDOWS;

    fn new(settings: Settings, setup: Setup<'_>) -> Result<Self, ConfigError> {
        let teacher = Teacher::read(&settings, setup.input)?;
        let head = ProjectionHead {
            layers: settings.layers,
            hidden: settings.hidden,
            ..ProjectionHead::linear(teacher.dim)
        };
        Ok(Self { teacher, head })
    }
}

impl Pretext for Distil {
    fn objective(&self) -> Objective {
        Objective::Distillation { head: self.head }
    }

    fn rows(&self, samples: usize) -> usize {
        samples
    }

    fn teacher(&self) -> Option<&str> {
        Some(&self.teacher.digest)
    }
}

impl Sampler for Distil {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        let views = draw.views(1)?;
        let taught = self.teacher.embed(&views, draw.spec())?;
        Ok(vec![(VIEWS.into(), views), ("taught".into(), taught.into_dyn())])
    }
}

fn refused(path: &Path, wanted: impl Into<String>) -> ConfigError {
    let found = if path.as_os_str().is_empty() { "left out".into() } else { path.display().to_string() };
    ConfigError::Value { field: "pretext.teacher", found, wanted: wanted.into() }
}

impl Teacher {
    /// The teacher of a student that reads `student`.
    fn read(settings: &Settings, student: &InputSpec) -> Result<Self, ConfigError> {
        let path = settings.teacher.as_path();
        let unreadable =
            |why: &dyn std::fmt::Display| refused(path, format!("an encoder that can be run: {why}"));
        let subject = match path.extension().and_then(|extension| extension.to_str()) {
            Some("sedge") => Subject::of_bundle(path).map_err(|e| unreadable(&e))?,
            Some("onnx") => Subject::of_onnx(path).map_err(|e| unreadable(&e))?,
            _ => return Err(refused(path, "the path of an .onnx encoder or a .sedge bundle")),
        };
        let input = match &subject.input {
            Some(input) => input.clone(),
            None => InputSpec { shape: subject.shape.clone(), ..settings.normalised(student) },
        };
        input.check().map_err(|e| unreadable(&e))?;
        let windows = student.modality != Modality::Image;
        if input.modality != student.modality || (windows && input.shape != student.shape) {
            let wanted = format!(
                "one for samples of modality {}{}; it reads {:?}",
                student.modality,
                if windows { format!(" and of shape {:?}", student.shape) } else { String::new() },
                input.shape
            );
            return Err(refused(path, wanted));
        }
        let encoder = Encoder::with_options(&subject.onnx, TEACHER_BATCH, Options::parallel());
        let encoder = encoder.map_err(|e| unreadable(&e))?;
        let digest = sha256_of_file(path).map_err(|e| unreadable(&e))?;
        Ok(Self { dim: encoder.dim(), encoder: Mutex::new(encoder), input, digest })
    }

    /// What it makes of `views`, normalised by `student`.
    fn embed(&self, views: &ArrayD<f32>, student: &InputSpec) -> Result<Array2<f32>, DataError> {
        let rows = views.len_of(Axis(0));
        let mut taught = Array2::zeros((rows, self.dim));
        for start in (0..rows).step_by(TEACHER_BATCH) {
            let part = Slice::from(start..(start + TEACHER_BATCH).min(rows));
            let views = views.slice_axis(Axis(0), part);
            let mut shape = self.input.shape.clone();
            shape.insert(0, views.len_of(Axis(0)));
            let mut shown = ArrayD::zeros(shape);
            for (view, mut out) in views.outer_iter().zip(shown.outer_iter_mut()) {
                let flat = view.to_shape(view.len()).map_err(|e| failed(&e))?;
                if let Some(out) = out.as_slice_mut() {
                    self.show(flat.view(), student, out)?;
                }
            }
            // A worker that died while it held the encoder has left nothing half done in it.
            let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
            let embeddings = encoder.embed(shown.view()).map_err(|e| failed(&e))?;
            taught.slice_axis_mut(Axis(0), part).assign(&embeddings);
        }
        Ok(taught)
    }

    /// A view of the student's as the teacher reads it, into `out`. An image is first rounded to bytes, as it is
    /// in a file.
    fn show(&self, view: ArrayView1<'_, f32>, student: &InputSpec, out: &mut [f32]) -> Result<(), DataError> {
        let plane = (view.len() / student.channels().max(1)).max(1);
        let natural = |at: usize| {
            // Places lie within the view, whose channels have a mean and a deviation each.
            let channel = at / plane;
            view[at] * student.std[channel] + student.mean[channel]
        };
        match (student.modality, student.shape.as_slice(), self.input.shape.as_slice()) {
            (Modality::Image, [channels, height, width], [_, tall, wide]) => {
                let byte = |at: usize| (natural(at) * 255.0 + 0.5) as u8;
                let rgb: Vec<u8> = (0..plane)
                    .flat_map(|pixel| (0..*channels).map(move |c| byte(c * plane + pixel)))
                    .collect();
                let image = ImageSource::new(&rgb, *width, *height)?;
                resize_center(&image, Size { width: *wide, height: *tall }, out)?;
            }
            _ => out.iter_mut().enumerate().for_each(|(at, value)| *value = natural(at)),
        }
        Ok(normalise(out, &self.input.mean, &self.input.std)?)
    }
}

impl Settings {
    /// `student` with the normalisation that an .onnx teacher wants.
    fn normalised(&self, student: &InputSpec) -> InputSpec {
        let usual = match student.modality {
            Modality::Image => IMAGENET.map(Vec::from),
            _ => [student.mean.clone(), student.std.clone()],
        };
        let [mean, std] = usual;
        let (mean, std) = (self.mean.clone().unwrap_or(mean), self.std.clone().unwrap_or(std));
        InputSpec { mean, std, ..student.clone() }
    }
}

fn failed(why: &dyn std::fmt::Display) -> DataError {
    DataError::Worker { what: format!("could not ask the teacher: {why}") }
}

#[cfg(test)]
#[path = "distil_tests.rs"]
mod tests;
