//! Starting a step on a device.

use sedge_engine::{Engine, Options, TractStep};
use sedge_models::TrainingStep;
use sedge_models::compile::{CompileError, Recipe, compile, open};

use super::{Device, GpuError, Precision};

impl Device {
    /// Compiles `recipe` into the form that this device's engine runs: whole for the processor, and open at its
    /// gradients where burn finds them.
    ///
    /// # Errors
    /// What the compiler says.
    pub fn compile(self, recipe: Recipe) -> Result<TrainingStep, CompileError> {
        if self == Self::Cpu { compile(recipe) } else { open(recipe) }
    }
}

/// An engine for `step`, which was made by [`Device::compile`], on `device`. Products and convolutions are computed
/// in `precision`, for which the processor knows single precision only.
///
/// # Errors
/// When this build or this machine lacks what the device needs, in words; when the device cannot compute in
/// `precision`; and when the step has an operator that the engine does not run.
pub fn engine(
    step: &TrainingStep,
    device: Device,
    precision: Precision,
) -> Result<Box<dyn Engine>, GpuError> {
    match device {
        Device::Cpu if precision != Precision::F32 => Err(GpuError::Precision { device, precision }),
        Device::Cpu => Ok(Box::new(TractStep::with_options(step, Options::parallel())?)),
        #[cfg(feature = "burn")]
        Device::BurnCpu => started::<burn_flex::Flex>(step, device, burn_flex::FlexDevice, precision),
        #[cfg(feature = "gpu")]
        Device::Cuda(index) => {
            super::cuda::probe(index)?;
            started::<burn_cuda::Cuda>(step, device, burn_cuda::CudaDevice::new(index), precision)
        }
        #[cfg(feature = "wgpu")]
        Device::Wgpu => {
            started::<burn_wgpu::Wgpu>(step, device, burn_wgpu::WgpuDevice::DefaultDevice, precision)
        }
        #[allow(unreachable_patterns, reason = "a build with all features has every device")]
        device => Err(GpuError::NotBuilt { device, feature: device.feature() }),
    }
}

/// The step on a device of the backend `B`, whose libraries are there.
#[cfg(feature = "burn")]
fn started<B: burn_backend::Backend>(
    step: &TrainingStep,
    device: Device,
    at: B::Device,
    precision: Precision,
) -> Result<Box<dyn Engine>, GpuError> {
    use burn_autodiff::Autodiff;
    use burn_backend::DType;

    use super::step::BurnStep;

    let format = match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
        Precision::F16 => DType::F16,
    };
    let start = || {
        if !B::supports_dtype(&at, format) {
            return Err(GpuError::Precision { device, precision });
        }
        BurnStep::<Autodiff<B>>::new(step, device, at.clone(), precision)
    };
    let engine = sedge_models::contain::quietly(start).unwrap_or(Err(GpuError::Start { device }));
    Ok(Box::new(engine?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sedge_models::StepSpec;

    use super::*;

    fn nothing() -> TrainingStep {
        let spec = StepSpec {
            objective: "none".into(),
            optimizer: "none".into(),
            batch: 0,
            inputs: vec![],
            scalars: vec![],
            state: vec![],
            metrics: vec![],
        };
        TrainingStep { spec, onnx: vec![], initial: Default::default() }
    }

    #[test]
    fn the_processor_computes_in_single_precision_only() {
        let refused = engine(&nothing(), Device::Cpu, Precision::Bf16).err().unwrap();
        assert!(matches!(refused, GpuError::Precision { .. }), "{refused}");
    }

    #[cfg(not(feature = "gpu"))]
    #[test]
    fn a_build_without_a_device_says_how_to_get_it() {
        let refused = engine(&nothing(), Device::Cuda(0), Precision::F32).err().unwrap();
        assert!(refused.to_string().contains("--features gpu"), "{refused}");
    }
}
