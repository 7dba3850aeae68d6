//! Bounds of operators that slide a window: convolutions, pools, pads, resizing. Their attributes are
//! checked too, because tract divides by strides and allocates for pads before it looks at the result.

use super::rules::Bounds;
use super::site::Site;
use super::value::Value;
use super::{LimitError, MAX_RANK, MAX_WINDOW};
use crate::onnx::read::MAX_ELEMENTS;

const MOST: i64 = MAX_WINDOW as i64;

/// A window over the spatial axes, its attributes within range.
struct Window {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    pads: Vec<(usize, usize)>,
    padding: Padding,
    ceil: bool,
}

#[derive(PartialEq)]
enum Padding {
    Explicit,
    Same,
    Valid,
}

impl Window {
    fn read(site: &Site<'_>, kernel: Vec<usize>) -> Result<Self, LimitError> {
        let rank = kernel.len();
        if rank == 0 || rank + 2 > MAX_RANK {
            return Err(site.operand("a window needs a batch, channels and spatial axes"));
        }
        for &extent in &kernel {
            site.within("kernel_shape", i64::try_from(extent).unwrap_or(i64::MAX), 1, MOST)?;
        }
        let list = |name: &'static str, length: usize, default: i64, low: i64| {
            let ints = site.ints(name).map_or_else(|| vec![default; length], <[i64]>::to_vec);
            if ints.len() != length {
                return Err(site.operand("the lists of a window differ in length"));
            }
            ints.into_iter().map(|i| site.within(name, i, low, MOST)).collect::<Result<Vec<_>, _>>()
        };
        let ends = list("pads", 2 * rank, 0, 0)?;
        let (before, after) = ends.split_at(rank);
        let padding = match site.string("auto_pad").unwrap_or(b"NOTSET") {
            b"NOTSET" | b"" => Padding::Explicit,
            b"SAME_UPPER" | b"SAME_LOWER" => Padding::Same,
            b"VALID" => Padding::Valid,
            _ => return Err(site.operand("an unknown `auto_pad`")),
        };
        Ok(Self {
            strides: list("strides", rank, 1, 1)?,
            dilations: list("dilations", rank, 1, 1)?,
            pads: before.iter().copied().zip(after.iter().copied()).collect(),
            padding,
            ceil: site.flag("ceil_mode", 0)?,
            kernel,
        })
    }

    /// Elements of the kernel.
    fn taps(&self) -> usize {
        self.kernel.iter().fold(1usize, |n, &k| n.saturating_mul(k))
    }

    /// Positions along each axis of an input of spatial `extents`.
    fn positions(&self, site: &Site<'_>, extents: &[usize]) -> Result<Vec<usize>, LimitError> {
        if extents.len() != self.kernel.len() {
            return Err(site.operand("the window has another number of axes than its operand"));
        }
        (0..extents.len())
            .map(|axis| {
                let stride = self.strides[axis];
                let (before, after) = match self.padding {
                    Padding::Same => return Ok(extents[axis].div_ceil(stride)),
                    Padding::Valid => (0, 0),
                    Padding::Explicit => self.pads[axis],
                };
                // Far from overflow: every term is below the limits above.
                let span = (self.kernel[axis] - 1).saturating_mul(self.dilations[axis]).saturating_add(1);
                let padded = extents[axis].saturating_add(before).saturating_add(after);
                let room = padded
                    .checked_sub(span)
                    .ok_or_else(|| site.operand("the window is larger than its padded operand"))?;
                let steps = if self.ceil { room.div_ceil(stride) } else { room / stride };
                Ok(steps.saturating_add(1))
            })
            .collect()
    }
}

/// `[batch, channels, spatial...]` taken apart.
fn feature_map<'a>(site: &Site<'a>) -> Result<(usize, usize, &'a [usize]), LimitError> {
    match site.shape(0)? {
        [batch, channels, spatial @ ..] if !spatial.is_empty() => Ok((*batch, *channels, spatial)),
        _ => Err(site.operand("it reads `[batch, channels, spatial...]`")),
    }
}

fn map(batch: usize, channels: usize, spatial: Vec<usize>) -> Value {
    Value::of_shape([vec![batch, channels], spatial].concat())
}

/// Weights `[out, in / groups, kernel...]` and the number of groups, checked against each other.
fn filters<'a>(
    site: &Site<'a>,
    channels: usize,
    of_out: bool,
) -> Result<(usize, &'a [usize], usize), LimitError> {
    let groups = site.within("group", site.int("group", 1), 1, MAX_ELEMENTS as i64)?;
    let [first, second, kernel @ ..] = site.shape(1)? else {
        return Err(site.operand("weights of fewer than three axes"));
    };
    if let Some(stated) = site.ints("kernel_shape") {
        let stated: Vec<_> = stated.iter().map(|&k| usize::try_from(k).unwrap_or(0)).collect();
        if stated != kernel {
            return Err(site.operand("`kernel_shape` is not the shape of its weights"));
        }
    }
    let (fits, out) = if of_out {
        (second.checked_mul(groups) == Some(channels) && first.is_multiple_of(groups), *first)
    } else {
        (*first == channels && channels.is_multiple_of(groups), second.saturating_mul(groups))
    };
    if !fits || out == 0 {
        return Err(site.operand("its weights and groups do not fit the channels of its operand"));
    }
    let bias = site.optional(2).and_then(|bias| bias.shape.as_ref());
    if bias.is_some_and(|shape| *shape != [out]) {
        return Err(site.operand("its bias has not one value a channel"));
    }
    Ok((out, kernel, groups))
}

pub(super) fn convolution(site: &Site<'_>) -> Result<Bounds, LimitError> {
    let (batch, channels, spatial) = feature_map(site)?;
    let (out, kernel, groups) = filters(site, channels, true)?;
    let window = Window::read(site, kernel.to_vec())?;
    let value = map(batch, out, window.positions(site, spatial)?);
    let taps = window.taps().saturating_mul(channels / groups);
    let work = value.elements.saturating_mul(taps);
    let patches = (value.elements / out).saturating_mul(channels).saturating_mul(window.taps());
    Ok(Bounds { values: vec![value], work, patches })
}

pub(super) fn transposed_convolution(site: &Site<'_>) -> Result<Bounds, LimitError> {
    let (batch, channels, spatial) = feature_map(site)?;
    let (out, kernel, groups) = filters(site, channels, false)?;
    let window = Window::read(site, kernel.to_vec())?;
    if window.kernel.len() != spatial.len() || site.attribute("output_shape").is_some() {
        return Err(site.operand("a transposed convolution of stated or unfitting shape"));
    }
    let added = site.ints("output_padding").map_or_else(|| vec![0; spatial.len()], <[i64]>::to_vec);
    let mut extents = vec![];
    for (axis, &extent) in spatial.iter().enumerate() {
        let more = site.within("output_padding", added.get(axis).copied().unwrap_or(-1), 0, MOST)?;
        let span = (window.kernel[axis] - 1).saturating_mul(window.dilations[axis]).saturating_add(1);
        let full = extent.saturating_sub(1).saturating_mul(window.strides[axis]).saturating_add(span + more);
        let (before, after) = window.pads[axis];
        let kept =
            full.checked_sub(before + after).filter(|kept| *kept > 0 && window.padding == Padding::Explicit);
        extents.push(kept.ok_or_else(|| site.operand("the pads of a transposed convolution leave nothing"))?);
    }
    let value = map(batch, out, extents);
    let input = site.input(0)?.elements;
    let work = input.saturating_mul(out / groups).saturating_mul(window.taps());
    let patches = (input / channels.max(1)).saturating_mul(out).saturating_mul(window.taps());
    Ok(Bounds { values: vec![value], work, patches })
}

pub(super) fn pool(site: &Site<'_>) -> Result<Bounds, LimitError> {
    let (batch, channels, spatial) = feature_map(site)?;
    let kernel = site.ints("kernel_shape").ok_or_else(|| site.operand("a pool without `kernel_shape`"))?;
    let kernel = kernel.iter().map(|&k| site.within("kernel_shape", k, 1, MOST)).collect::<Result<_, _>>()?;
    let window = Window::read(site, kernel)?;
    // A window that lies in the padding altogether has no largest value and no mean.
    let spans = window.kernel.iter().zip(&window.dilations).map(|(k, d)| (k - 1).saturating_mul(*d) + 1);
    if window.pads.iter().zip(spans).any(|((before, after), span)| *before >= span || *after >= span) {
        return Err(site.operand("a pad as large as its window"));
    }
    let value = map(batch, channels, window.positions(site, spatial)?);
    let patches = value.elements.saturating_mul(window.taps());
    Ok(Bounds { values: vec![value], work: patches, patches })
}

pub(super) fn global_pool(site: &Site<'_>) -> Result<Value, LimitError> {
    let (batch, channels, spatial) = feature_map(site)?;
    Ok(map(batch, channels, vec![1; spatial.len()]))
}

pub(super) fn pad(site: &Site<'_>) -> Result<Value, LimitError> {
    let shape = site.shape(0)?;
    let pads = site.list("pads", 1)?.ok_or_else(|| site.operand("a pad without `pads`"))?;
    let axes = match site.constant(3, "the padded axes")? {
        Some(axes) => axes.iter().map(|&a| site.axis(a, shape.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..shape.len()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(site.operand("`pads` must hold two numbers an axis"));
    }
    let is_constant = matches!(site.string("mode"), None | Some(b"constant" | b""));
    let mut next = shape.to_vec();
    for (place, &axis) in axes.iter().enumerate() {
        for &pad in [pads.get(place), pads.get(place + axes.len())].into_iter().flatten() {
            let pad = site.within("pads", pad, 0, MAX_ELEMENTS as i64)?;
            if !is_constant && pad >= shape[axis] {
                return Err(site.operand("a reflecting or repeating pad as large as its axis"));
            }
            next[axis] = next[axis].saturating_add(pad);
        }
    }
    Ok(Value::of_shape(next))
}

/// Blocks of pixels to channels, and back.
pub(super) fn block(site: &Site<'_>) -> Result<Value, LimitError> {
    let size = site.within("blocksize", site.int("blocksize", 0), 1, MOST)?;
    let &[batch, channels, height, width] = site.shape(0)? else {
        return Err(site.operand("it reads `[batch, channels, height, width]`"));
    };
    let area = size * size;
    let fault = || site.operand("its block does not divide its operand");
    let (divides, shape) = if site.operator() == "DepthToSpace" {
        let shape = [batch, channels / area, height.saturating_mul(size), width.saturating_mul(size)];
        (channels.is_multiple_of(area), shape)
    } else {
        let shape = [batch, channels.saturating_mul(area), height / size, width / size];
        (height.is_multiple_of(size) && width.is_multiple_of(size), shape)
    };
    if divides { Ok(Value::of_shape(shape.to_vec())) } else { Err(fault()) }
}

pub(super) fn resize(site: &Site<'_>) -> Result<Value, LimitError> {
    let shape = site.shape(0)?;
    let (scales, sizes) = if site.operator() == "Upsample" || site.opset < 11 { (1, 9) } else { (2, 3) };
    let sizes = site.constant(sizes, "the sizes asked for")?;
    let next: Vec<usize> = if let Some(sizes) = sizes.filter(|sizes| !sizes.is_empty()) {
        sizes.iter().map(|&s| site.within("sizes", s, 1, MAX_ELEMENTS as i64)).collect::<Result<_, _>>()?
    } else {
        let scales = match site.attribute("scales") {
            Some(attribute) => attribute.floats.iter().map(|&f| f64::from(f)).collect(),
            None => site.input(scales)?.floats().ok_or_else(|| site.unbounded("the scales"))?,
        };
        if scales.len() != shape.len() || !scales.iter().all(|s| *s > 0.0 && *s <= MAX_WINDOW as f64) {
            return Err(site.operand("one scale above zero is needed for each axis"));
        }
        // Positive and far below the limit of exact integers.
        shape.iter().zip(&scales).map(|(&extent, scale)| (extent as f64 * scale).floor() as usize).collect()
    };
    if next.len() != shape.len() || site.attribute("axes").is_some() {
        return Err(site.operand("one size is needed for each axis"));
    }
    Ok(Value::of_shape(next))
}
