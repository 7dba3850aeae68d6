//! What an encoder makes of samples, to be looked at: a map of their embeddings, and some of them with
//! their nearest neighbours. Labels, where there are any, colour and name; nothing is chosen by them.

use ndarray::{ArrayView1, Axis};
use sedge_augment::{Size, resize_center};
use sedge_models::InputSpec;

use super::WatchError;
use super::yardstick::spread;
use crate::data::Dataset;
use crate::encoder::embed;
use crate::report::{Picture, Plane, ReportError, Scatter, Section};

/// Samples embedded at most.
const MOST: usize = 1000;
/// Samples shown with their neighbours.
const QUERIES: usize = 8;
/// Neighbours of each.
const NEIGHBOURS: usize = 5;
/// Longest side of a picture in pixels.
const SIDE: usize = 96;
/// Classes that are told apart by colour; of more, all have one.
const COLOURED: usize = 20;

/// Samples to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The samples.
    pub data: &'a Dataset,
    /// Where they are from in words, such as `the data trained on`.
    pub of: &'a str,
}

/// Embeddings and neighbours of some samples.
#[derive(Clone, Debug)]
pub struct Gallery {
    map: Scatter,
    explained: f64,
    neighbours: Vec<Vec<Picture>>,
    of: String,
    /// Neighbours are of other groups than the sample.
    across_groups: bool,
}

impl Gallery {
    /// Embeds some of the samples by the ONNX `encoder`, which reads `input`.
    ///
    /// # Errors
    /// When the encoder cannot be run, or the data does not fit it.
    pub fn of(shown: &Shown<'_>, encoder: &[u8], input: &InputSpec) -> Result<Self, WatchError> {
        let data = shown.data;
        let all: Vec<usize> = (0..data.len()).collect();
        let sample = data.subset(&spread(&all, MOST))?;
        let features = embed(encoder, &sample, input)?;
        let plane = Plane::of(features.view())?;
        let labels = sample.labels().filter(|labels| labels.names.len() <= COLOURED);
        let classes = labels.map_or_else(|| vec![0; sample.len()], |labels| labels.ids.clone());
        let names = labels.map_or_else(Vec::new, |labels| labels.names.clone());
        let points = plane.project(features.view())?;
        let map = Scatter { title: "Map of embeddings".into(), points, classes, names };
        let unit: Vec<Vec<f32>> = features.axis_iter(Axis(0)).map(unit).collect();
        let across_groups = separable(&sample);
        let queries = spread(&(0..sample.len()).collect::<Vec<_>>(), QUERIES);
        let row = |query| neighbours(&sample, &unit, query, across_groups, input);
        let neighbours = queries.into_iter().map(row).collect::<Result<_, _>>()?;
        Ok(Self {
            map,
            explained: plane.explained.iter().sum(),
            neighbours,
            of: shown.of.into(),
            across_groups,
        })
    }

    /// The sections of a page.
    ///
    /// # Errors
    /// When a figure cannot be drawn.
    pub(super) fn sections(&self) -> Result<Vec<Section>, ReportError> {
        let coloured = if self.map.names.is_empty() { "" } else { ", coloured by label" };
        let caption = format!(
            "{} samples of {} on the first two principal axes of their embeddings, which hold {:.0} % of the \
             variance{coloured}. Labels took no part in training.",
            self.map.points.len(),
            self.of,
            100.0 * self.explained
        );
        let map = Section::new("Embeddings").figure(&self.map.draw()?, &caption);
        let from = if self.across_groups { " of other groups than its own" } else { "" };
        let mut nearest = Section::new("Nearest neighbours").text(&format!(
            "Each row begins with a sample and goes on with those whose embeddings point most nearly the same way\
             {from}, with the cosine of the angle."
        ));
        for row in &self.neighbours {
            nearest = nearest.pictures(row, "");
        }
        Ok(vec![map, nearest])
    }
}

/// Whether every sample has enough others outside its own group: neighbours in time would say nothing.
fn separable(sample: &Dataset) -> bool {
    let groups = sample.groups();
    let mut sorted = groups.to_vec();
    sorted.sort_unstable();
    let largest = sorted.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap_or(0);
    largest > 1 && groups.len() - largest >= NEIGHBOURS
}

fn unit(row: ArrayView1<'_, f32>) -> Vec<f32> {
    let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    row.iter().map(|x| if norm > 0.0 { (f64::from(*x) / norm) as f32 } else { 0.0 }).collect()
}

/// The picture of a sample and those of its nearest neighbours.
fn neighbours(
    sample: &Dataset,
    unit: &[Vec<f32>],
    query: usize,
    across_groups: bool,
    input: &InputSpec,
) -> Result<Vec<Picture>, WatchError> {
    let groups = sample.groups();
    let cosine = |other: usize| unit[query].iter().zip(&unit[other]).map(|(a, b)| a * b).sum::<f32>();
    let mut others: Vec<(usize, f32)> = (0..unit.len())
        // Groups are as many as embeddings.
        .filter(|&other| other != query && !(across_groups && groups[other] == groups[query]))
        .map(|other| (other, cosine(other)))
        .collect();
    others.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let label = |index: usize| {
        let labels = sample.labels()?;
        labels.names.get(*labels.ids.get(index)? as usize).cloned()
    };
    let shown: Vec<(usize, String)> =
        std::iter::once((query, label(query).unwrap_or_else(|| "sample".into())))
            .chain(others.into_iter().take(NEIGHBOURS).map(|(other, cosine)| {
                (other, label(other).map_or(format!("{cosine:.2}"), |label| format!("{cosine:.2} {label}")))
            }))
            .collect();
    if sample.image(query).is_some() {
        shown.into_iter().map(|(index, caption)| image(sample, index, caption)).collect()
    } else {
        windows(sample, &shown, input)
    }
}

fn image(sample: &Dataset, index: usize, caption: String) -> Result<Picture, WatchError> {
    let Some(source) = sample.image(index) else {
        let problem = "is not among the samples".into();
        return Err(ReportError::Picture { caption, problem }.into());
    };
    let (width, height) = (source.width(), source.height());
    // Shrunk to `SIDE` along the longer side; small ones as they are.
    let scale =
        |side: usize| if width.max(height) > SIDE { (side * SIDE / width.max(height)).max(1) } else { side };
    let size = Size { width: scale(width), height: scale(height) };
    let plane = size.width * size.height;
    let mut values = vec![0.0; 3 * plane];
    resize_center(&source, size, &mut values).map_err(crate::data::DataError::from)?;
    // Channels first becomes channels last.
    let pixels: Vec<u8> = (0..3 * plane)
        .map(|i| (255.0 * values[(i % 3) * plane + i / 3]).round().clamp(0.0, 255.0) as u8)
        .collect();
    Ok(Picture::rgb(size.width as u32, size.height as u32, &pixels, caption)?)
}

/// Windows as the encoder reads them, all of a row on one scale.
fn windows(
    sample: &Dataset,
    shown: &[(usize, String)],
    input: &InputSpec,
) -> Result<Vec<Picture>, WatchError> {
    let indices: Vec<usize> = shown.iter().map(|(index, _)| *index).collect();
    let batch = sample.batch_f32(&indices, input)?;
    let ends = batch.iter().fold((0.0f32, 0.0f32), |(low, high), v| (low.min(*v), high.max(*v)));
    let range = if ends.0 < ends.1 { ends } else { (-1.0, 1.0) };
    let pictures = batch.axis_iter(Axis(0)).zip(shown).map(|(window, (_, caption))| {
        let channels: Vec<Vec<f32>> =
            window.axis_iter(Axis(0)).map(|c| c.iter().copied().collect()).collect();
        let curves: Vec<&[f32]> = channels.iter().take(9).map(Vec::as_slice).collect();
        Ok(Picture::curves(&curves, range, caption.clone())?)
    });
    pictures.collect()
}
