//! What CUDA needs at run time. Its libraries are loaded when they are asked for, and where one is missing the loader
//! panics; so each is asked for here first, and what is missing is said in words.

use std::path::PathBuf;

use cudarc::driver::result::{device, init};
use sedge_models::contain::quietly;

use super::{Device, GpuError};

/// A header that every kernel in reduced precision includes.
const HEADER: &str = "cuda_fp16.h";

/// Whether the GPU `index` can be used.
///
/// # Errors
/// [`GpuError::Missing`] that names the library and where it comes from, or [`GpuError::Index`].
pub(super) fn probe(index: usize) -> Result<(), GpuError> {
    let device_name = Device::Cuda(index);
    let missing = |missing: String| GpuError::Missing { device: device_name, missing };
    match quietly(init) {
        Err(_) => {
            return Err(missing(
                "there is no NVIDIA driver (libcuda.so.1). Install the driver of the GPU; in a container, \
                 start it with access to the GPU, such as `--gpus all`"
                    .into(),
            ));
        }
        Ok(Err(error)) => return Err(missing(format!("the NVIDIA driver finds no usable GPU ({error})"))),
        Ok(Ok(())) => {}
    }
    let count = device::get_count().map_err(|error| missing(format!("the driver fails ({error})")))?;
    let found = usize::try_from(count).unwrap_or(0);
    if index >= found {
        return Err(GpuError::Index { device: device_name, found });
    }
    // An empty kernel: what matters is that there is a compiler.
    if quietly(|| cudarc::nvrtc::compile_ptx("")).is_err() {
        return Err(missing(
            "there is no NVRTC (libnvrtc.so), which compiles kernels while training. Install the package \
             cuda-nvrtc of CUDA 12 or later, or `pip install nvidia-cuda-nvrtc-cu12`, and name its folder in \
             LD_LIBRARY_PATH"
                .into(),
        ));
    }
    let header = headers().map(|path| path.join("include").join(HEADER));
    if !header.as_ref().is_some_and(|header| header.is_file()) {
        let looked = header.map_or("nowhere, as CUDA_PATH is not set".into(), |h| h.display().to_string());
        return Err(missing(format!(
            "CUDA's headers are not there (looked for {HEADER}: {looked}). Install the package cuda-cudart-dev, or \
             `pip install nvidia-cuda-runtime-cu12`, and set CUDA_PATH to the folder that holds `include`"
        )));
    }
    Ok(())
}

/// Where kernels look for CUDA's headers.
fn headers() -> Option<PathBuf> {
    cubecl_cuda::install::cuda_path()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// With a GPU or without one, asking never panics.
    #[test]
    fn a_machine_without_cuda_says_what_is_missing() {
        match probe(0) {
            Ok(()) => assert!(matches!(probe(255), Err(GpuError::Index { .. }))),
            Err(error) => assert!(error.to_string().starts_with("`cuda:0` cannot be used: "), "{error}"),
        }
    }
}
