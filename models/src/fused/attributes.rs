//! Reading the attributes of a call. They come from a file, so every number is checked against a limit
//! before a shape is made of it.

use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

use crate::onnx::read::MAX_ELEMENTS;

/// The attributes of one node.
pub(super) struct Attributes<'a>(pub(super) &'a [pb::AttributeProto]);

impl<'a> Attributes<'a> {
    fn find(&self, name: &str) -> Option<&'a pb::AttributeProto> {
        self.0.iter().find(|a| a.name == name)
    }

    fn wanted(&self, name: &str) -> TractResult<&'a pb::AttributeProto> {
        self.find(name).with_context(|| format!("a call without the attribute `{name}`"))
    }

    pub(super) fn string(&self, name: &str) -> TractResult<&'a str> {
        Ok(std::str::from_utf8(&self.wanted(name)?.s)?)
    }

    /// A whole number of zero to [`MAX_ELEMENTS`].
    pub(super) fn size(&self, name: &str) -> TractResult<usize> {
        size(name, self.wanted(name)?.i)
    }

    /// A list of such.
    pub(super) fn sizes(&self, name: &str) -> TractResult<Vec<usize>> {
        self.wanted(name)?.ints.iter().map(|&value| size(name, value)).collect()
    }

    /// A finite number, `None` when the attribute is not there.
    pub(super) fn number(&self, name: &str) -> TractResult<Option<f32>> {
        let Some(attribute) = self.find(name) else { return Ok(None) };
        ensure!(attribute.f.is_finite(), "the attribute `{name}` is {}", attribute.f);
        Ok(Some(attribute.f))
    }

    /// A shape: one to six axes, none empty, of at most [`MAX_ELEMENTS`] values.
    pub(super) fn shape(&self, name: &str) -> TractResult<Vec<usize>> {
        let shape = self.sizes(name)?;
        ensure!((1..=6).contains(&shape.len()), "the attribute `{name}` has {} axes", shape.len());
        bounded(&shape)?;
        Ok(shape)
    }
}

fn size(name: &str, value: i64) -> TractResult<usize> {
    let value = usize::try_from(value).ok().filter(|v| *v <= MAX_ELEMENTS);
    value.with_context(|| format!("the attribute `{name}` must lie in 0..={MAX_ELEMENTS}"))
}

/// Refuses a shape that is empty or holds more than [`MAX_ELEMENTS`] values.
pub(super) fn bounded(shape: &[usize]) -> TractResult<()> {
    let values = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    ensure!(
        values.is_some_and(|n| (1..=MAX_ELEMENTS).contains(&n)),
        "the shape {shape:?} must hold 1 to {MAX_ELEMENTS} values"
    );
    Ok(())
}
