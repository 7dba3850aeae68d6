//! Where the batch lies in every value. A file exported at batch one may say so in any reshape; to change
//! the batch one must know which axis of each value holds it, through transpositions and merges.
//!
//! A value's batch is given by its axis and, for an axis that merges several, by the extent of what lies
//! outside the batch in that axis (`pre`): axis extent = `pre` x batch x rest. A reshape keeps row-major
//! order, so it keeps the number of rows in front of the batch, and that finds the axis again.

use std::collections::HashMap;

use tract_onnx::pb;

use super::draft::{attribute, from_front, int};
use super::shapes::Shapes;

/// Where the batch lies in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) axis: usize,
    pub(super) pre: usize,
}

/// An operand without a batch that is joined to ones that have it, and must be repeated along this axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeat {
    pub(super) node: usize,
    pub(super) input: usize,
    pub(super) axis: usize,
}

/// The places of all values of a graph.
pub(super) struct Trace<'a> {
    /// Shapes at the file's own batch.
    pub(super) shapes: &'a Shapes,
    /// Integer constants.
    pub(super) integers: &'a HashMap<String, Vec<i64>>,
    /// The file's own batch.
    pub(super) batch: usize,
    pub(super) places: HashMap<String, Place>,
    pub(super) repeats: Vec<Repeat>,
}

const NOT_FIRST: &str = "does not have the batch as its first axis";
const MIXES: &str = "mixes the samples of a batch";
const UNKNOWN: &str = "has an operator through which the batch could not be followed";

impl Trace<'_> {
    /// Follows the batch through `node`, number `at` of the graph.
    pub(super) fn node(&mut self, at: usize, node: &pb::NodeProto) -> Result<(), &'static str> {
        let place = self.place(at, node)?;
        if let Some(place) = place {
            for output in node.output.iter().filter(|o| !o.is_empty()) {
                self.places.insert(output.clone(), place);
            }
        }
        Ok(())
    }

    fn shape(&self, name: Option<&String>) -> Option<&Vec<usize>> {
        self.shapes.get(name?)
    }

    fn of(&self, node: &pb::NodeProto, input: usize) -> Option<Place> {
        self.places.get(node.input.get(input)?).copied()
    }

    fn rank(&self, node: &pb::NodeProto, input: usize) -> usize {
        self.shape(node.input.get(input)).map_or(0, Vec::len)
    }

    fn place(&mut self, at: usize, node: &pb::NodeProto) -> Result<Option<Place>, &'static str> {
        let carries = (0..node.input.len()).any(|i| self.of(node, i).is_some());
        if !carries {
            return Ok(self.expanded(node));
        }
        let first = self.of(node, 0);
        match node.op_type.as_str() {
            "Shape" | "Size" => Ok(None),
            "Conv"
            | "ConvTranspose"
            | "MaxPool"
            | "AveragePool"
            | "LpPool"
            | "GlobalAveragePool"
            | "GlobalMaxPool"
            | "InstanceNormalization"
            | "BatchNormalization"
            | "DepthToSpace"
            | "SpaceToDepth"
            | "Resize"
            | "Upsample"
            | "LRN"
            | "GroupNormalization" => match first {
                Some(Place { axis: 0, pre: 1 }) => Ok(first),
                _ => Err(NOT_FIRST),
            },
            "MatMul" => self.product(node),
            "Gemm" => match (first, self.of(node, 1), int(node, "transA", 0)) {
                (Some(Place { axis: 0, .. }), None, 0) => Ok(first),
                _ => Err(MIXES),
            },
            "Einsum" => self.einsum(node),
            "Transpose" => Ok(self.transposed(node)),
            "Reshape" | "Flatten" => self.reshaped(node),
            "Squeeze" | "Unsqueeze" => self.squeezed(node),
            "Concat" => self.joined(at, node),
            "Gather" => self.gathered(node),
            "Expand" => self.aligned(node),
            _ if node.op_type.starts_with("Reduce") || node.op_type.starts_with("Arg") => {
                Ok(self.reduced(node))
            }
            _ => self.aligned(node),
        }
    }

    /// A fixed array repeated to the file's batch.
    fn expanded(&self, node: &pb::NodeProto) -> Option<Place> {
        if self.batch == 1 || !["Expand", "Tile", "ConstantOfShape"].contains(&node.op_type.as_str()) {
            return None;
        }
        let (x, y) = (self.shape(node.input.first())?, self.shape(node.output.first())?);
        let padded = y.len().checked_sub(x.len())?;
        let before = if padded > 0 || node.op_type == "ConstantOfShape" { 1 } else { *x.first()? };
        (y.first() == Some(&self.batch) && before == 1).then_some(Place { axis: 0, pre: 1 })
    }

    fn transposed(&self, node: &pb::NodeProto) -> Option<Place> {
        let place = self.of(node, 0)?;
        let axis = match attribute(node, "perm") {
            Some(perm) => perm.ints.iter().position(|&a| usize::try_from(a) == Ok(place.axis))?,
            None => self.rank(node, 0).checked_sub(place.axis + 1)?,
        };
        Some(Place { axis, ..place })
    }

    fn reshaped(&self, node: &pb::NodeProto) -> Result<Option<Place>, &'static str> {
        let Some(place) = self.of(node, 0) else { return Ok(None) };
        let shapes = self.shape(node.input.first()).zip(self.shape(node.output.first()));
        let (x, y) = shapes.ok_or(UNKNOWN)?;
        let rows = x.iter().take(place.axis).product::<usize>().saturating_mul(place.pre);
        locate(rows, self.batch, y).map(Some).ok_or(MIXES)
    }

    fn squeezed(&self, node: &pb::NodeProto) -> Result<Option<Place>, &'static str> {
        let Some(place) = self.of(node, 0) else { return Ok(None) };
        let Some(axes) = self.axes(node) else { return self.reshaped(node) };
        let rank =
            if node.op_type == "Squeeze" { self.rank(node, 0) } else { self.rank(node, 0) + axes.len() };
        let mut axes: Vec<usize> = axes.iter().filter_map(|&a| from_front(a, rank)).collect();
        axes.sort_unstable();
        if node.op_type == "Squeeze" {
            if axes.contains(&place.axis) {
                return Err("removes the batch axis");
            }
            let before = axes.iter().filter(|&&a| a < place.axis).count();
            return Ok(Some(Place { axis: place.axis - before, ..place }));
        }
        let axis = axes.iter().fold(place.axis, |axis, &added| if added <= axis { axis + 1 } else { axis });
        Ok(Some(Place { axis, ..place }))
    }

    /// Axes, an attribute in older operator sets and an input in newer ones.
    fn axes(&self, node: &pb::NodeProto) -> Option<Vec<i64>> {
        let stated = attribute(node, "axes").map(|a| a.ints.clone());
        stated.or_else(|| self.integers.get(node.input.get(1)?).cloned())
    }

    fn reduced(&self, node: &pb::NodeProto) -> Option<Place> {
        let place = self.of(node, 0)?;
        let rank = self.rank(node, 0);
        let all = || (0..rank as i64).collect();
        let axes = if node.op_type.starts_with("Arg") {
            vec![int(node, "axis", 0)]
        } else {
            self.axes(node).unwrap_or_else(all)
        };
        let axes: Vec<usize> = axes.iter().filter_map(|&a| from_front(a, rank)).collect();
        // A statistic of the batch belongs to no sample.
        if axes.contains(&place.axis) {
            return None;
        }
        let before =
            if int(node, "keepdims", 1) == 0 { axes.iter().filter(|&&a| a < place.axis).count() } else { 0 };
        Some(Place { axis: place.axis - before, ..place })
    }

    fn product(&self, node: &pb::NodeProto) -> Result<Option<Place>, &'static str> {
        let rank = self.shape(node.output.first()).map_or(0, Vec::len);
        let side = |input: usize, contracted: usize| -> Result<Option<Place>, &'static str> {
            let Some(place) = self.of(node, input) else { return Ok(None) };
            let own = self.rank(node, input);
            if own < 2 || place.axis + contracted == own || rank < own {
                return Err(MIXES);
            }
            Ok(Some(Place { axis: place.axis + rank - own, ..place }))
        };
        match (side(0, 1)?, side(1, 2)?) {
            (Some(a), Some(b)) if a != b => Err(MIXES),
            (a, b) => Ok(a.or(b)),
        }
    }

    fn einsum(&self, node: &pb::NodeProto) -> Result<Option<Place>, &'static str> {
        let equation = attribute(node, "equation").map(|a| String::from_utf8_lossy(&a.s).replace(' ', ""));
        let equation = equation.filter(|e| !e.contains('.')).ok_or(UNKNOWN)?;
        let (left, right) = equation.split_once("->").ok_or(UNKNOWN)?;
        let mut found = None;
        for (input, letters) in left.split(',').enumerate() {
            let Some(place) = self.of(node, input) else { continue };
            let letter = letters.chars().nth(place.axis).ok_or(UNKNOWN)?;
            let axis = right.chars().position(|c| c == letter).ok_or(MIXES)?;
            let here = Place { axis, ..place };
            if found.is_some_and(|other| other != here) {
                return Err(MIXES);
            }
            found = Some(here);
        }
        Ok(found)
    }

    fn joined(&mut self, at: usize, node: &pb::NodeProto) -> Result<Option<Place>, &'static str> {
        let mut places = (0..node.input.len()).filter_map(|i| self.of(node, i));
        let Some(place) = places.next() else { return Ok(None) };
        let differ = places.any(|other| other != place);
        if differ || from_front(int(node, "axis", 0), self.rank(node, 0)) == Some(place.axis) {
            return Err(MIXES);
        }
        for input in 0..node.input.len() {
            if self.of(node, input).is_none() {
                let extent = self.shape(node.input.get(input)).and_then(|s| s.get(place.axis));
                if extent != Some(&1) {
                    return Err("joins an array that has the file's batch stored in it");
                }
                self.repeats.push(Repeat { node: at, input, axis: place.axis });
            }
        }
        Ok(Some(place))
    }

    fn gathered(&self, node: &pb::NodeProto) -> Result<Option<Place>, &'static str> {
        let rank = self.rank(node, 0);
        let axis = from_front(int(node, "axis", 0), rank).ok_or(UNKNOWN)?;
        match (self.of(node, 0), self.of(node, 1)) {
            (Some(place), None) if place.axis == axis => Err("takes single samples out of the batch"),
            (Some(place), None) if place.axis < axis => Ok(Some(place)),
            (Some(place), None) => {
                Ok(Some(Place { axis: (place.axis + self.rank(node, 1)).saturating_sub(1), ..place }))
            }
            (None, Some(place)) => Ok(Some(Place { axis: place.axis + axis, ..place })),
            _ => Err(UNKNOWN),
        }
    }

    /// Operands aligned at the last axis, an extent of one repeated; operators on one operand are the
    /// simplest case.
    fn aligned(&self, node: &pb::NodeProto) -> Result<Option<Place>, &'static str> {
        let y = self.shape(node.output.first()).ok_or(UNKNOWN)?;
        let mut found: Option<Place> = None;
        for input in 0..node.input.len() {
            let Some(place) = self.of(node, input) else { continue };
            let shift = y.len().checked_sub(self.rank(node, input)).ok_or(UNKNOWN)?;
            let here = Place { axis: place.axis + shift, ..place };
            if found.is_some_and(|other| other != here) {
                return Err(MIXES);
            }
            found = Some(here);
        }
        let Some(place) = found else { return Ok(None) };
        for input in 0..node.input.len() {
            let Some(x) = self.shape(node.input.get(input)) else { continue };
            let shift = y.len().saturating_sub(x.len());
            let extent = place.axis.checked_sub(shift).and_then(|axis| x.get(axis)).copied();
            match self.of(node, input) {
                Some(_) if extent != y.get(place.axis).copied() => return Err(UNKNOWN),
                None if self.batch > 1 && y.len() == x.len() && extent == Some(self.batch) => {
                    return Err("reads an array that has the file's batch stored in it");
                }
                _ => {}
            }
        }
        Ok(Some(place))
    }
}

/// The place of the batch in `shape` when `rows` lie in front of it in row-major order. An axis that is
/// just the batch is preferred to one that merges it with others, and the last, which holds features, comes
/// last: of tokens and features, `[tokens, features]`, the tokens take the batch.
pub(super) fn locate(rows: usize, batch: usize, shape: &[usize]) -> Option<Place> {
    let mut starts = Vec::with_capacity(shape.len());
    let mut before = 1_usize;
    for &extent in shape {
        starts.push(before);
        before = before.saturating_mul(extent);
    }
    let axes = || starts.iter().copied().zip(shape.iter().copied()).enumerate();
    let last = shape.len().saturating_sub(1);
    let exact = axes().find(|&(_, (start, extent))| start == rows && extent == batch);
    let leading = |also_last: bool| {
        let fits = |&(axis, (start, extent)): &(usize, (usize, usize))| {
            start == rows && holds(extent, batch) && (also_last || rows == 1 || axis != last)
        };
        axes().find(fits)
    };
    if let Some((axis, _)) = exact.or_else(|| leading(false)) {
        return Some(Place { axis, pre: 1 });
    }
    let inside = axes().find_map(|(axis, (start, extent))| {
        let pre = rows.checked_div(start).filter(|&pre| pre > 1 && pre * start == rows)?;
        holds(extent, pre.checked_mul(batch)?).then_some(Place { axis, pre })
    });
    inside.or_else(|| leading(true).map(|(axis, _)| Place { axis, pre: 1 }))
}

fn holds(extent: usize, factor: usize) -> bool {
    extent > 0 && factor > 0 && extent.is_multiple_of(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reshape_keeps_the_rows_in_front_of_the_batch() {
        let at = |axis, pre| Some(Place { axis, pre });
        // Heads split off, and merged with the batch.
        assert_eq!(locate(1, 1, &[1, 17, 3, 2, 8]), at(0, 1));
        assert_eq!(locate(5, 2, &[5, 4, 8]), at(1, 1));
        // Tokens and batch merged, tokens outside.
        assert_eq!(locate(5, 2, &[10, 16]), at(0, 5));
        assert_eq!(locate(5, 1, &[5, 1, 3, 16]), at(1, 1));
        assert_eq!(locate(5, 1, &[5, 16]), at(0, 5));
        assert_eq!(locate(5, 1, &[5, 2, 8]), at(1, 1));
        // A batch of two does not fit rows of three.
        assert_eq!(locate(1, 2, &[3, 8]), None);
    }
}
