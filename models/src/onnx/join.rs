//! Two encoders as one graph, so that one step trains both: what is contrasted across two kinds of sample has
//! an encoder for each.

use tract_onnx::pb;

use super::{OnnxError, check_written};
use crate::fused::DOMAIN;

/// `first` with `second` beside it: the second's input is called `prefix`, and everything else of the second
/// `<prefix>.<its name>`, outputs (`<prefix>.embedding`) and weights among it. Outputs of `second` come after
/// those of `first`.
///
/// # Errors
/// When the second holds graphs within its graph, the two are written in different operator sets, or a name of
/// `first` begins like the second's.
pub fn join(
    mut first: pb::ModelProto,
    second: pb::ModelProto,
    prefix: &str,
) -> Result<pb::ModelProto, OnnxError> {
    let pb::ModelProto { graph: Some(mut graph), mut functions, opset_import, ir_version, .. } = second
    else {
        return Err(OnnxError::NoGraph);
    };
    let input = graph.input.first().map(|input| input.name.clone()).unwrap_or_default();
    let renamed = |name: &mut String| {
        // An optional operand that is left out has no name.
        if *name == input {
            *name = prefix.into();
        } else if !name.is_empty() {
            *name = format!("{prefix}.{name}");
        }
    };
    let function = |name: &str| format!("{prefix}_{name}");
    for node in &mut graph.node {
        let within = |attribute: &pb::AttributeProto| attribute.g.is_some() || !attribute.graphs.is_empty();
        if node.attribute.iter().any(within) {
            return Err(OnnxError::Unsupported {
                place: super::place(node),
                what: "a graph within a graph",
                mend: "Export the second encoder without control flow (If, Loop, Scan)",
            });
        }
        node.name = format!("{prefix}.{}", node.name);
        node.input.iter_mut().chain(&mut node.output).for_each(renamed);
        if node.domain == DOMAIN {
            node.op_type = function(&node.op_type);
        }
    }
    for body in &mut functions {
        body.name = Some(function(body.name()));
    }
    graph.initializer.iter_mut().for_each(|tensor| renamed(&mut tensor.name));
    let values = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    values.for_each(|value| renamed(&mut value.name));

    same_opsets(&mut first, opset_import)?;
    first.ir_version = first.ir_version.max(ir_version);
    first.functions.extend(functions);
    let ours = first.graph.as_mut().ok_or(OnnxError::NoGraph)?;
    ours.node.extend(graph.node);
    ours.initializer.extend(graph.initializer);
    ours.input.extend(graph.input);
    ours.output.extend(graph.output);
    ours.value_info.extend(graph.value_info);
    check_written(&first)?;
    Ok(first)
}

/// Adds the operator sets that `model` does not state; those that both state must be one version.
fn same_opsets(model: &mut pb::ModelProto, others: Vec<pb::OperatorSetIdProto>) -> Result<(), OnnxError> {
    let plain = |domain: &str| if domain == "ai.onnx" { String::new() } else { domain.to_owned() };
    for other in others {
        let domain = plain(&other.domain);
        match model.opset_import.iter().find(|known| plain(&known.domain) == domain) {
            None => model.opset_import.push(other),
            Some(known) if known.version == other.version => {}
            Some(_) => {
                return Err(OnnxError::Unsupported {
                    place: "the second encoder".into(),
                    what: "another operator set than the first",
                    mend: "Export both with one opset",
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::architecture::{Architecture, Block, Conv1d, Form, InvertedResidual, fold};
    use crate::fused;
    use crate::onnx::build::Batch;
    use tract_onnx::prelude::*;

    fn towers(form: Form) -> [(pb::ModelProto, Vec<usize>); 2] {
        let blocks = vec![Block { channels: 6, stride: 2, expand: 2 }];
        let image = InvertedResidual { stem: 4, stem_stride: 2, blocks, last: 8 };
        let window = Conv1d { channels: vec![4, 8], strides: vec![2, 2], kernel: 3 };
        let image = (Architecture::InvertedResidual(image), vec![3, 8, 8]);
        let window = (Architecture::Conv1d(window), vec![6, 16]);
        [(image, 1), (window, 2)].map(|((tower, sample), seed)| {
            let mut weights = tower.initial_weights(&sample, seed).unwrap();
            if form == Form::Folded {
                weights = fold(&weights).unwrap();
            }
            (tower.graph(form, Batch::Fixed(4), &sample, &weights).unwrap(), sample)
        })
    }

    /// Every output by name for inputs that differ from place to place.
    fn outputs(model: &pb::ModelProto, samples: &[&[usize]]) -> Vec<(String, Tensor)> {
        let mut model = model.clone();
        fused::inline_where(&mut model, |_| true).unwrap();
        let plan = fused::read(&model).unwrap().into_optimized().unwrap().into_runnable().unwrap();
        let inputs = samples.iter().map(|sample| {
            let shape: Vec<usize> = std::iter::once(4).chain(sample.iter().copied()).collect();
            let values: Vec<f32> = (0..shape.iter().product()).map(|i| (i as f32 * 0.7).sin()).collect();
            Tensor::from_shape(&shape, &values).unwrap().into_tvalue()
        });
        let found = plan.run(inputs.collect()).unwrap();
        let names = model.graph.unwrap().output.into_iter().map(|output| output.name);
        names.zip(found.into_iter().map(|value| value.into_tensor())).collect()
    }

    #[test]
    fn joined_encoders_give_what_each_gives() {
        for form in [Form::Training, Form::Folded] {
            let [(image, pixels), (window, rows)] = towers(form);
            let apart = [outputs(&image, &[&pixels]), outputs(&window, &[&rows])];
            let joined = join(image, window, "second").unwrap();
            let inputs: Vec<&str> =
                joined.graph.as_ref().unwrap().input.iter().map(|input| input.name.as_str()).collect();
            assert_eq!(inputs[1], "second");
            let together = outputs(&joined, &[&pixels, &rows]);
            let [first, second] = apart;
            let second = second.into_iter().map(|(name, value)| (format!("second.{name}"), value));
            let expected: Vec<_> = first.into_iter().chain(second).collect();
            assert!(expected.iter().any(|(name, _)| name == "second.embedding"));
            assert_eq!(together.len(), expected.len());
            for ((name, found), (wanted, value)) in together.iter().zip(&expected) {
                assert_eq!(name, wanted);
                found.close_enough(value, true).unwrap();
            }
        }
    }

    #[test]
    fn what_cannot_be_joined_is_refused() {
        let [(image, _), (window, _)] = towers(Form::Training);
        let once = join(image.clone(), window.clone(), "second").unwrap();
        assert!(matches!(join(once, window.clone(), "second"), Err(OnnxError::Duplicate { .. })));
        let mut newer = window.clone();
        newer.opset_import[0].version += 1;
        assert!(matches!(join(image.clone(), newer, "second"), Err(OnnxError::Unsupported { .. })));
        let mut nested = window;
        let attribute = pb::AttributeProto { g: Some(pb::GraphProto::default()), ..Default::default() };
        nested.graph.as_mut().unwrap().node[0].attribute.push(attribute);
        assert!(matches!(join(image.clone(), nested, "second"), Err(OnnxError::Unsupported { .. })));
        assert!(matches!(join(image, pb::ModelProto::default(), "second"), Err(OnnxError::NoGraph)));
    }
}
