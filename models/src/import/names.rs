//! Names that a person knows again. Exporters keep some weights' names, replace others by numbers
//! (`onnx::MatMul_123`, `val_7`), and tell in the nodes' names which layer a number belongs to.

/// Whether `name` was made up by an exporter and says nothing.
pub(super) fn is_anonymous(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
    name.contains("::")
        || name.contains('/')
        || name.contains(':')
        || stem.is_empty()
        || ["val", "const", "constant", "t", "tensor", "const_fold_opt", "initializer"]
            .contains(&stem.to_ascii_lowercase().as_str())
            && stem.len() < name.len()
}

/// The layer that a node of this name belongs to: `/features/features.0/features.0.1/Conv` is of
/// `features.0.1`. `None` when the name tells none.
pub(super) fn scope(node: &str) -> Option<String> {
    let (path, _) = node.split(':').next()?.rsplit_once('/')?;
    let mut parts: Vec<&str> = vec![];
    for part in path.split('/').filter(|p| !p.is_empty()) {
        // A child of a list repeats the list's name: `features`, `features.0`.
        let repeats = parts
            .last()
            .is_some_and(|last| part.strip_prefix(last).is_some_and(|rest| rest.starts_with('.')));
        if repeats {
            parts.pop();
        }
        parts.push(part);
    }
    (!parts.is_empty()).then(|| parts.join("."))
}

/// The layer in front of the last part of a weight's name.
pub(super) fn layer(name: &str) -> Option<&str> {
    if is_anonymous(name) { None } else { name.rsplit_once('.').map(|(layer, _)| layer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_exporters_are_known_and_names_of_people_kept() {
        for name in ["onnx::MatMul_12", "val_7", "123", "a/b/Const:0", "const_fold_opt__9", "/x/Constant_1"] {
            assert!(is_anonymous(name), "{name}");
        }
        for name in ["conv1.weight", "kernel1", "cls_token", "layers.0.w", "t", "value_2"] {
            assert!(!is_anonymous(name), "{name}");
        }
    }

    #[test]
    fn a_node_tells_its_layer() {
        assert_eq!(scope("/features/features.0/features.0.1/Conv").as_deref(), Some("features.0.1"));
        assert_eq!(scope("/blocks/blocks.1/attn/qkv/MatMul").as_deref(), Some("blocks.1.attn.qkv"));
        assert_eq!(scope("model/conv1/Conv2D:0").as_deref(), Some("model.conv1"));
        assert_eq!(scope("/ReduceMean"), None);
        assert_eq!(scope("node_Conv_4"), None);
    }
}
