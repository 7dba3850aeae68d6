//! The protocol run on an encoder and on all that it can be held against.

use sedge_models::{InputSpec, Modality};
use serde::Serialize;

use super::{MeasureError, Sides, Subject};
use crate::data::Augment;
use crate::encoder::{Supervised, embed, features_without_encoder};
use crate::evaluate::{Evaluation, FeatureSet, Progress, Protocol, Reference};

/// Most networks that the supervised reference trains on all labels.
const MOST_ON_ALL_LABELS: usize = 3;

/// What is measured and how long the reference trains.
#[derive(Clone, Debug, PartialEq)]
pub struct AssessOptions {
    /// The protocol; its seed also draws the random encoder's weights.
    pub protocol: Protocol,
    /// Whether the encoder's random form and the raw input are measured too.
    pub references: bool,
    /// Steps of the supervised reference, each on two views of 32 samples; 0 leaves it out.
    pub supervised_steps: usize,
    /// Its learning rate at the highest.
    pub supervised_lr: f32,
    /// Whether it sees samples augmented as in pretraining, which helps it much, or as they are.
    pub supervised_augmented: bool,
}

impl Default for AssessOptions {
    fn default() -> Self {
        Self {
            protocol: Protocol::default(),
            references: true,
            supervised_steps: 300,
            supervised_lr: 2e-3,
            supervised_augmented: true,
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Assessment {
    /// What the encoder reads.
    pub input: InputSpec,
    /// What a reader must know of the figures.
    pub notes: Vec<String>,
    /// The figures.
    pub evaluation: Evaluation,
}

/// Measures `subject` on `sides` against its random form, the raw input and, where its architecture
/// is known, a supervised network. `progress` is told before each fit.
///
/// # Errors
/// When data and encoder do not fit each other, or a fit fails.
pub fn assess(
    subject: &Subject,
    sides: &Sides,
    options: &AssessOptions,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Assessment, MeasureError> {
    let input = subject.input_for(&sides.train);
    sides.train.check_fits(&input)?;
    sides.test.check_fits(&input)?;
    let mut notes: Vec<String> = unfinished(subject).into_iter().collect();
    if subject.input.is_none() && subject.modality() != Modality::Text {
        notes.push(
            "The ONNX file does not say how samples are normalised: each channel was, by the mean and \
             deviation of the training part."
                .to_owned(),
        );
    }
    let sets = feature_sets(subject, sides, &input, options, &mut notes)?;
    let (protocol, split) = (&options.protocol, &sides.split);
    let evaluation = match supervised(subject, sides, &input, options, &mut notes) {
        None => protocol.run(split, &sets, None, progress)?,
        Some(supervised) => {
            let mut train = |draw: &crate::evaluate::LabelDraw| {
                supervised.predict(&draw.items, draw.seed).map_err(Into::into)
            };
            let runs_on_all_labels = protocol.draws.min(MOST_ON_ALL_LABELS);
            let reference = Reference { name: "supervised".into(), train: &mut train, runs_on_all_labels };
            protocol.run(split, &sets, Some(reference), progress)?
        }
    };
    Ok(Assessment { input, notes, evaluation })
}

/// Says so when pretraining is not over: the learning rate has not fallen yet.
fn unfinished(subject: &Subject) -> Option<String> {
    let (done, planned) = (subject.epochs?, subject.config.as_ref()?.epochs);
    (done < planned).then(|| format!("The run is not over: the encoder stands at epoch {done} of {planned}."))
}

/// The encoder, its random form and the raw input.
fn feature_sets(
    subject: &Subject,
    sides: &Sides,
    input: &InputSpec,
    options: &AssessOptions,
    notes: &mut Vec<String>,
) -> Result<Vec<FeatureSet>, MeasureError> {
    let embedded = |name: &str, onnx: &[u8]| -> Result<FeatureSet, MeasureError> {
        let (train, test) = (embed(onnx, &sides.train, input)?, embed(onnx, &sides.test, input)?);
        Ok(FeatureSet { name: name.into(), train, test })
    };
    let mut sets = vec![embedded("encoder", &subject.onnx)?];
    if !options.references {
        return Ok(sets);
    }
    match subject.random(input, options.protocol.seed)? {
        Some(random) => {
            if !random.as_initialised {
                notes.push(
                    "The random encoder is the ONNX file with every weight of two or more axes drawn anew \
                     (He normal), and all else, such as biases and running statistics, kept."
                        .to_owned(),
                );
            }
            sets.push(embedded("random", &random.onnx)?);
        }
        None => notes.push(
            "There is no random encoder to compare with: the ONNX file keeps no weights as initializers."
                .to_owned(),
        ),
    }
    let [train, test] = [&sides.train, &sides.test].map(|side| features_without_encoder(side, input));
    for ((name, train), (_, test)) in train?.into_iter().zip(test?) {
        sets.push(FeatureSet { name: name.into(), train, test });
    }
    Ok(sets)
}

fn supervised<'a>(
    subject: &'a Subject,
    sides: &'a Sides,
    input: &'a InputSpec,
    options: &AssessOptions,
    notes: &mut Vec<String>,
) -> Option<Supervised<'a>> {
    let steps = options.supervised_steps;
    if steps == 0 {
        return None;
    }
    let Some(config) = &subject.config else {
        notes.push(
            "There is no supervised reference: the architecture is not known, since the file does not say \
             how it was made."
                .to_owned(),
        );
        return None;
    };
    let (views, augment) = if options.supervised_augmented {
        ("augmented as in pretraining", config.augment.clone().into())
    } else {
        ("without augmentation", Augment::none_for(subject.modality()))
    };
    notes.push(format!(
        "The supervised reference is the same architecture from scratch, {steps} steps of 64 views, \
         {views}, AdamW with a learning rate of {}.",
        options.supervised_lr
    ));
    Some(Supervised {
        architecture: &config.architecture,
        input,
        train: &sides.train,
        test: &sides.test,
        augment,
        classes: sides.split.classes().len(),
        steps,
        lr: options.supervised_lr,
    })
}
