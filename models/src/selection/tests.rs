#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;
use crate::architecture::{Architecture, fold};

fn patterns() -> impl Strategy<Value = Vec<Pattern>> {
    let name = "[a-z0-9_.*?/:]{1,12}"
        .prop_filter("a word of the grammar", |text| matches!(part(text), Ok(Selection::Names(_))));
    prop::collection::vec(name.prop_map(|text| pattern::parse_list(&text).unwrap().remove(0)), 1..4)
}

fn single() -> impl Strategy<Value = Selection> {
    let scope = prop_oneof![
        Just(Scope::Encoder),
        (1usize..9).prop_map(Scope::Last),
        patterns()
            .prop_filter("last of a scope", |p| within(&p[0].to_string()) != Ok(Scope::Encoder))
            .prop_map(Scope::Names),
    ];
    prop_oneof![
        Just(Selection::Head),
        Just(Selection::Bias),
        Just(Selection::Norm),
        Just(Selection::All),
        (1usize..1000).prop_map(Selection::Last),
        (1..=MAX_RANK, scope).prop_map(|(rank, scope)| Selection::Lora { rank, scope }),
        patterns().prop_map(Selection::Names),
    ]
}

proptest! {
    #[test]
    fn words_come_back(parts in prop::collection::vec(single(), 1..4)) {
        let mut parts = parts;
        let selection = if parts.len() == 1 { parts.remove(0) } else { Selection::Union(parts) };
        prop_assert_eq!(selection.to_string().parse::<Selection>().unwrap(), selection.clone());
        let json = serde_json::to_string(&selection).unwrap();
        prop_assert_eq!(serde_json::from_str::<Selection>(&json).unwrap(), selection);
    }

    #[test]
    fn any_text_parses_or_says_why(text in ".{0,40}") {
        if let Ok(selection) = text.parse::<Selection>() {
            prop_assert_eq!(selection.to_string().parse::<Selection>().unwrap(), selection);
        }
    }

    #[test]
    fn patterns_fit_as_a_naive_matcher_says(pattern in "[ab*?]{1,8}", name in "[ab]{0,10}") {
        fn naive(pattern: &[u8], name: &[u8]) -> bool {
            match (pattern.split_first(), name.split_first()) {
                (None, _) => name.is_empty(),
                (Some((b'*', rest)), _) => naive(rest, name) || name.split_first().is_some_and(|(_, n)| naive(pattern, n)),
                (Some((p, rest)), Some((n, names))) => (*p == b'?' || p == n) && naive(rest, names),
                (Some(_), None) => false,
            }
        }
        let parsed = pattern::parse_list(&pattern).unwrap().remove(0);
        prop_assert_eq!(parsed.fits(&name), naive(pattern.as_bytes(), name.as_bytes()));
    }

    #[test]
    fn a_name_fits_its_own_pattern(name in "\\PC{1,20}") {
        let pattern = Pattern::of_name(&name).unwrap();
        prop_assert!(pattern.fits(&name));
        let names = Selection::Names(vec![pattern]);
        prop_assert_eq!(names.to_string().parse::<Selection>().unwrap(), names);
    }
}

#[test]
fn what_is_no_selection_is_refused() {
    for text in [
        "",
        "last:0",
        "last:x",
        "last:-1",
        "lora:0",
        "lora:2000",
        "lora:4@",
        "lora:4@last:0",
        "a,,b",
        "all+",
        "a@b",
    ] {
        assert!(matches!(text.parse::<Selection>(), Err(SelectionError::Unknown { .. })), "{text}");
    }
    assert!("x".repeat(MAX_SELECTION_BYTES + 1).parse::<Selection>().is_err());
}

fn choose(text: &str, (weights, blocks): &(Vec<Weight>, Vec<String>)) -> Result<Choice, SelectionError> {
    text.parse::<Selection>().unwrap().choose(weights, blocks)
}

fn preset(name: &str, sample: &[usize], folded: bool) -> (Vec<Weight>, Vec<String>) {
    let architecture = Architecture::preset(name).unwrap();
    let mut weights = architecture.initial_weights(sample, 1).unwrap();
    if folded {
        weights = fold(&weights).unwrap();
    }
    let named = weights.iter().map(|(name, w)| (name.as_str(), w.shape()));
    describe_stages(&architecture.stages(), named)
}

#[test]
fn presets_have_the_kinds_that_their_layers_say() {
    for (name, sample, units) in [("image-small", vec![3, 64, 64], 20), ("imu-small", vec![6, 100], 4)] {
        let unfolded = preset(name, &sample, false);
        let count = |kind| unfolded.0.iter().filter(|w| w.kind == kind).count();
        assert_eq!(
            (count(Kind::Kernel), count(Kind::NormScale), count(Kind::NormShift)),
            (units, units, units)
        );
        assert_eq!((count(Kind::Other), count(Kind::Bias), count(Kind::Matrix)), (2 * units, 0, 0));
        assert_eq!(choose("norm", &unfolded).unwrap().trained.len(), 2 * units);
        assert_eq!(choose("bias", &unfolded).unwrap().trained.len(), units);
        assert_eq!(choose("all", &unfolded).unwrap().trained.len(), 3 * units);
        let folded = preset(name, &sample, true);
        assert_eq!(choose("bias", &folded).unwrap().trained.len(), units);
        assert!(matches!(choose("norm", &folded), Err(SelectionError::NoKind { .. })));
    }
}

#[test]
fn blocks_are_counted_from_the_end() {
    let imu = preset("imu-small", &[6, 100], true);
    assert_eq!(choose("head", &imu).unwrap(), Choice::default());
    assert_eq!(choose("last:1", &imu).unwrap().trained, ["layers.3.conv.bias", "layers.3.conv.weight"]);
    assert_eq!(choose("last:99", &imu), choose("all", &imu));
    let both = choose("bias+last:1", &imu).unwrap().trained;
    assert_eq!(both.len(), 5);
    assert_eq!(choose("layers.?.conv.bias,layers.3.*", &imu).unwrap().trained, both);
    // Whole weights win over deltas on them.
    let lora = choose("lora:4+last:1", &imu).unwrap();
    assert_eq!(lora.low_rank.len(), 3);
    assert!(lora.low_rank.iter().all(|(name, rank)| name.ends_with("weight") && *rank == 4));
    assert_eq!(lora.trained, ["layers.3.conv.bias", "layers.3.conv.weight"]);
    assert_eq!(choose("lora:2@last:2", &imu).unwrap().low_rank.len(), 2);
    assert_eq!(choose("lora:2@*.0.*", &imu).unwrap().low_rank, [("layers.0.conv.weight".to_string(), 2)]);
}

/// Names and shapes of a MobileNetV2, a ResNet, a vision transformer as PyTorch gives them.
#[test]
fn pytorch_names_have_kinds_and_blocks() {
    let named: [(&str, &[usize], Kind, &str); 20] = [
        ("conv1.weight", &[64, 3, 7, 7], Kind::Kernel, "conv1"),
        ("bn1.weight", &[64], Kind::NormScale, "bn1"),
        ("bn1.bias", &[64], Kind::NormShift, "bn1"),
        ("bn1.running_mean", &[64], Kind::Other, "bn1"),
        ("features.0.0.weight", &[32, 3, 3, 3], Kind::Kernel, "features.0"),
        ("features.0.1.weight", &[32], Kind::NormScale, "features.0"),
        ("features.0.1.bias", &[32], Kind::NormShift, "features.0"),
        ("features.1.conv.0.0.weight", &[32, 1, 3, 3], Kind::Kernel, "features.1"),
        ("features.1.conv.0.0.bias", &[32], Kind::Bias, "features.1"),
        ("layer1.0.downsample.0.weight", &[64, 64, 1, 1], Kind::Kernel, "layer1.0"),
        ("class_token", &[1, 1, 64], Kind::Embedding, ""),
        ("encoder.pos_embedding", &[1, 65, 64], Kind::Embedding, "encoder"),
        (
            "encoder.layers.encoder_layer_3.ln_1.weight",
            &[64],
            Kind::NormScale,
            "encoder.layers.encoder_layer_3",
        ),
        (
            "encoder.layers.encoder_layer_3.ln_1.bias",
            &[64],
            Kind::NormShift,
            "encoder.layers.encoder_layer_3",
        ),
        (
            "encoder.layers.encoder_layer_3.self_attention.in_proj_weight",
            &[192, 64],
            Kind::Matrix,
            "encoder.layers.encoder_layer_3",
        ),
        (
            "encoder.layers.encoder_layer_3.self_attention.in_proj_bias",
            &[192],
            Kind::Bias,
            "encoder.layers.encoder_layer_3",
        ),
        (
            "encoder.layers.encoder_layer_3.mlp.0.weight",
            &[256, 64],
            Kind::Matrix,
            "encoder.layers.encoder_layer_3",
        ),
        ("encoder.layers.encoder_layer_3.mlp.0.bias", &[256], Kind::Bias, "encoder.layers.encoder_layer_3"),
        ("fc.weight", &[10, 64], Kind::Matrix, "fc"),
        ("fc.bias", &[10], Kind::Bias, "fc"),
    ];
    let (weights, blocks) = describe(named.iter().map(|(name, shape, ..)| (*name, *shape)));
    for (weight, (name, _, kind, block)) in weights.iter().zip(named) {
        assert_eq!((weight.kind, blocks[weight.block].as_str()), (kind, block), "{name}");
    }
    let all = (weights, blocks);
    assert_eq!(choose("last:1", &all).unwrap().trained, ["fc.weight", "fc.bias"]);
    assert_eq!(choose("features.?.*,fc*", &all).unwrap().trained.len(), 7);
}

#[test]
fn errors_list_what_exists() {
    let imu = preset("imu-small", &[6, 100], true);
    let error = choose("layer.3*", &imu).unwrap_err().to_string();
    assert!(error.contains("`layer.3*`") && error.contains("`layers.0.conv.bias`"), "{error}");
    let error = choose("norm", &imu).unwrap_err().to_string();
    assert!(error.contains("4 of kind kernel") && error.contains("train `bias`"), "{error}");
    let many = (0..100).map(|i| format!("w{i}.weight")).collect::<Vec<_>>();
    let (weights, blocks) = describe(many.iter().map(|name| (name.as_str(), &[2usize, 2][..])));
    let error = choose("x*", &(weights, blocks)).unwrap_err().to_string();
    assert!(error.contains("and 76 more"), "{error}");
}
