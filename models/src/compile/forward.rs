//! The encoder as it enters the compiler: read, decluttered, channels last, its outputs told apart.

use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

use crate::fused;
use crate::layout::channels_last;
use crate::limits;

/// The encoder as a decluttered, channels-last graph.
pub(super) struct Forward {
    pub(super) model: TypedModel,
    pub(super) input: OutletId,
    /// Inputs beside the first, by name.
    pub(super) others: Vec<(String, OutletId)>,
    pub(super) embedding: OutletId,
    /// Batch statistics by output name.
    pub(super) statistics: Vec<(String, OutletId)>,
    /// Other outputs beside the embedding, by name.
    pub(super) features: Vec<(String, OutletId)>,
}

/// Inputs of an encoder beside its first, before any weight is lifted to one.
pub(super) fn other_inputs(encoder: &pb::ModelProto) -> Vec<String> {
    let inputs = encoder.graph.iter().flat_map(|graph| graph.input.iter().skip(1));
    inputs.map(|input| input.name.clone()).collect()
}

fn is_statistic(output: &str) -> bool {
    output.ends_with(".batch_mean") || output.ends_with(".batch_var")
}

impl Forward {
    /// `others` are the [`other_inputs`] that the encoder came with.
    pub(super) fn read(encoder: &pb::ModelProto, others: &[String]) -> TractResult<Self> {
        let graph = encoder.graph.as_ref().context("a model without a graph")?;
        let typed = fused::read(encoder)?.into_typed()?;
        let mut model = channels_last(&typed)?;
        fused::layer_norms(&mut model)?;
        let input_name = &graph.input.first().context("an encoder without an input")?.name;
        let input = source(&model, input_name)?;
        let outputs = model.output_outlets()?.to_vec();
        let embedding = *outputs.first().context("an encoder without an output")?;
        let fact = model.outlet_fact(embedding)?;
        ensure!(
            fact.rank() == 2 && fact.datum_type == f32::datum_type() && fact.shape.is_concrete(),
            "the first output must be a float embedding [batch, dim] of fixed shape, it is {fact:?}"
        );
        limits::check_embedding(&fact.shape.eval_to_usize(&SymbolValues::default())?)?;
        let names = graph.output.iter().map(|o| o.name.clone());
        let (statistics, features) = names.zip(outputs).skip(1).partition(|(name, _)| is_statistic(name));
        let others = others.iter().map(|name| Ok((name.clone(), source(&model, name)?)));
        let others = others.collect::<TractResult<_>>()?;
        Ok(Self { model, input, others, embedding, statistics, features })
    }
}

/// The graph input called `name`.
pub(super) fn source(model: &TypedModel, name: &str) -> TractResult<OutletId> {
    Ok(OutletId::new(model.node_by_name(name)?.id, 0))
}
