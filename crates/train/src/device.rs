//! Where the computing happens: a GPU through wgpu, a software adapter asked for by name, or the CPU.
//!
//! Adapters are reached through Vulkan, Metal or Direct3D 12. A device is opened once per process and
//! shared from then on, because the runtime below refuses to initialise the same adapter twice.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};

use burn::backend::DispatchDevice;
use burn_wgpu::graphics::AutoGraphicsApi;
use burn_wgpu::wgpu::{AdapterInfo, Backends, DeviceType, Instance, InstanceDescriptor};
use burn_wgpu::{RuntimeOptions, WgpuBackend, WgpuDevice, try_init_setup};
use cubecl::device::WgpuDeviceKind;
use cubecl::future::block_on;

use crate::gpu::Gpu;

/// What can go wrong between a trainer and its device.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Text that is no choice of device.
    #[error("device `{given}` is none of `auto`, `gpu`, `cpu` or `gpu:NAME`")]
    Unknown {
        /// The text.
        given: String,
    },
    /// A GPU was demanded of a machine that has none.
    #[error("no GPU was found{}", among(.seen))]
    NoGpu {
        /// The names of the adapters there are, all of them software.
        seen: Vec<String>,
    },
    /// No adapter has the name asked for.
    #[error("no adapter is named `{name}`{}", among(.seen))]
    NoAdapter {
        /// The name asked for.
        name: String,
        /// The names of the adapters there are.
        seen: Vec<String>,
    },
    /// An adapter is there but cannot be used.
    #[error("adapter `{name}` refused to open: {reason}")]
    Refused {
        /// The adapter's name.
        name: String,
        /// What its driver said, in one line.
        reason: String,
    },
    /// Something exceeds what one buffer or one argument of a kernel may hold.
    #[error("`{what}` takes {bytes} bytes, more than the {limit} that the device holds in one piece")]
    TooLarge {
        /// What was to be stored.
        what: &'static str,
        /// Its size in bytes.
        bytes: u128,
        /// The limit in bytes.
        limit: u64,
    },
    /// More equations than fit into the memory that the units of one cube share, or none.
    #[error("`block` is {block}, the device can solve for 1 to {largest} numbers together")]
    Block {
        /// The numbers to be solved together.
        block: usize,
        /// The largest that fits.
        largest: usize,
    },
    /// An input whose sizes or numbers contradict each other.
    #[error("`{what}` {problem}")]
    Input {
        /// The input.
        what: &'static str,
        /// What is wrong with it, as the rest of a sentence.
        problem: String,
    },
    /// A result that is infinite or not a number.
    #[error("`{what}` holds numbers that are not finite")]
    NotFinite {
        /// The result.
        what: &'static str,
    },
    /// The device reported a failure while it computed.
    #[error("the device failed: {reason}")]
    Failed {
        /// What the driver said, in one line.
        reason: String,
    },
}

impl DeviceError {
    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoGpu { seen } | Self::NoAdapter { seen, .. } => Some(match seen.first() {
                Some(name) => format!("use `--device cpu`, or name an adapter as in `--device \"gpu:{name}\"`"),
                None => "use `--device cpu`, or install a Vulkan driver for the GPU".to_owned(),
            }),
            Self::Refused { .. } | Self::TooLarge { .. } => Some("use `--device cpu`".to_owned()),
            Self::Block { largest, .. } => Some(format!("set `block` to at most {largest}, or use `--device cpu`")),
            Self::NotFinite { .. } => Some("raise the regularisation or lower the learning rate".to_owned()),
            Self::Unknown { .. } | Self::Input { .. } | Self::Failed { .. } => None,
        }
    }
}

/// The end of a sentence that says which adapters there are.
fn among(seen: &[String]) -> String {
    if seen.is_empty() { String::new() } else { format!(" among the adapters `{}`", seen.join("`, `")) }
}

/// What was asked for with `--device`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum DeviceChoice {
    /// A hardware GPU if there is one that opens, else the CPU.
    #[default]
    Auto,
    /// A hardware GPU, or an error.
    Gpu,
    /// The CPU.
    Cpu,
    /// The first adapter, software ones included, whose name contains this text (case is ignored).
    Named(String),
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "gpu" => Ok(Self::Gpu),
            "cpu" => Ok(Self::Cpu),
            _ => match text.strip_prefix("gpu:") {
                Some(name) if !name.trim().is_empty() => Ok(Self::Named(name.trim().to_owned())),
                _ => Err(DeviceError::Unknown { given: text.to_owned() }),
            },
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Gpu => f.write_str("gpu"),
            Self::Cpu => f.write_str("cpu"),
            Self::Named(name) => write!(f, "gpu:{name}"),
        }
    }
}

/// What an adapter can hold, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest buffer that one kernel argument may be.
    pub binding: u64,
    /// Memory shared by the units of one cube (a work group).
    pub shared: usize,
}

/// An opened device. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Device {
    burn: burn::tensor::Device,
    name: String,
    why: String,
    gpu: Option<Gpu>,
}

impl Device {
    /// The CPU, for this reason.
    pub fn cpu(why: String) -> Self {
        let threads = rayon::current_num_threads();
        let name = format!("CPU, {threads} {}", if threads == 1 { "thread" } else { "threads" });
        Self { burn: burn::tensor::Device::flex(), name, why, gpu: None }
    }

    /// The device as burn knows it, without autodiff.
    pub fn burn(&self) -> &burn::tensor::Device {
        &self.burn
    }

    /// What computes, such as `NVIDIA H200 (Vulkan)` or `CPU, 2 threads`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why this device and no other, as one clause such as `no GPU was found`.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Whether kernels run on an adapter, be it hardware or software.
    pub fn is_gpu(&self) -> bool {
        self.gpu.is_some()
    }

    /// The adapter's limits; `None` on the CPU.
    pub fn limits(&self) -> Option<Limits> {
        self.gpu.as_ref().map(|gpu| gpu.limits)
    }

    /// Whether an adapter multiplies in 16 bits; the CPU does not.
    pub fn has_half(&self) -> bool {
        self.gpu.as_ref().is_some_and(|gpu| gpu.half)
    }

    /// The same device, as if one kernel argument could hold no more than `bytes`: the seam through
    /// which a small table exercises the splitting that a huge one needs. Does nothing to the CPU.
    pub fn with_binding_limit(mut self, bytes: u64) -> Self {
        if let Some(gpu) = &mut self.gpu {
            gpu.limits.binding = gpu.limits.binding.min(bytes);
        }
        self
    }

    /// Waits for everything that was launched and reports what went wrong on the way.
    pub fn sync(&self) -> Result<(), DeviceError> {
        self.gpu.as_ref().map_or(Ok(()), |gpu| gpu.sync(&[]))
    }

    pub(crate) fn gpu(&self) -> Option<&Gpu> {
        self.gpu.as_ref()
    }
}

/// Opens what was asked for, or hands out what an earlier call has opened.
pub fn open(choice: &DeviceChoice) -> Result<Device, DeviceError> {
    // One lock around everything: Vulkan loaders crash when instances come and go on several threads.
    static OPENED: Mutex<Vec<(WgpuDevice, Gpu)>> = Mutex::new(Vec::new());
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    match choice {
        DeviceChoice::Cpu => Ok(Device::cpu("asked for".to_owned())),
        DeviceChoice::Auto => Ok(match first_hardware() {
            None => Device::cpu("no GPU was found".to_owned()),
            Some((adapter, kind)) => adapter
                .open(&mut opened, format!("the first {kind}"))
                .unwrap_or_else(|error| Device::cpu(error.to_string())),
        }),
        DeviceChoice::Gpu => {
            let (adapter, kind) = first_hardware().ok_or_else(|| DeviceError::NoGpu { seen: seen() })?;
            adapter.open(&mut opened, format!("asked for, the first {kind}"))
        }
        DeviceChoice::Named(name) => {
            let wanted = name.to_lowercase();
            let adapter = adapters().iter().find(|adapter| adapter.info.name.to_lowercase().contains(&wanted));
            let adapter = adapter.ok_or_else(|| DeviceError::NoAdapter { name: name.clone(), seen: seen() })?;
            adapter.open(&mut opened, "asked for by name".to_owned())
        }
    }
}

/// An adapter and how the runtime addresses it: the n-th of its type on one graphics API.
struct Adapter {
    info: AdapterInfo,
    selector: WgpuDevice,
}

/// All adapters, listed once per process since listing loads every driver.
fn adapters() -> &'static [Adapter] {
    static FOUND: OnceLock<Vec<Adapter>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let apis = [
            (WgpuBackend::Vulkan, Backends::VULKAN),
            (WgpuBackend::Metal, Backends::METAL),
            (WgpuBackend::Dx12, Backends::DX12),
        ];
        apis.into_iter().flat_map(|(api, backends)| probe(api, backends)).collect()
    })
}

/// The adapters of one graphics API; none where the API or its loader is missing.
fn probe(api: WgpuBackend, backends: Backends) -> Vec<Adapter> {
    let instance = Instance::new(InstanceDescriptor { backends, ..InstanceDescriptor::new_without_display_handle() });
    let mut found: Vec<Adapter> = Vec::new();
    for adapter in block_on(instance.enumerate_adapters(backends)) {
        let info = adapter.get_info();
        let nth = found.iter().filter(|other| other.info.device_type == info.device_type).count();
        let kind = match info.device_type {
            DeviceType::DiscreteGpu => WgpuDeviceKind::DiscreteGpu(nth),
            DeviceType::IntegratedGpu => WgpuDeviceKind::IntegratedGpu(nth),
            DeviceType::VirtualGpu => WgpuDeviceKind::VirtualGpu(nth),
            DeviceType::Other => WgpuDeviceKind::Other(nth),
            // The runtime addresses one software adapter per API, the first.
            DeviceType::Cpu if nth == 0 => WgpuDeviceKind::Cpu,
            DeviceType::Cpu => continue,
        };
        found.push(Adapter { info, selector: WgpuDevice::new(kind).on(api) });
    }
    found
}

/// The names of all adapters, for messages.
fn seen() -> Vec<String> {
    adapters().iter().map(|adapter| adapter.info.name.clone()).collect()
}

/// The best hardware adapter and what it is called in a sentence.
fn first_hardware() -> Option<(&'static Adapter, &'static str)> {
    let order = [
        (DeviceType::DiscreteGpu, "discrete GPU"),
        (DeviceType::IntegratedGpu, "integrated GPU"),
        (DeviceType::VirtualGpu, "virtual GPU"),
        (DeviceType::Other, "GPU of a kind its driver doesn't tell"),
    ];
    order.into_iter().find_map(|(kind, noun)| {
        let adapter = adapters().iter().find(|a| a.info.device_type == kind && !a.is_software());
        adapter.map(|adapter| (adapter, noun))
    })
}

impl Adapter {
    /// Whether this adapter computes on the CPU, whatever type its driver claims.
    fn is_software(&self) -> bool {
        let name = self.info.name.to_lowercase();
        let known = ["llvmpipe", "lavapipe", "swiftshader", "softpipe", "basic render"];
        self.info.device_type == DeviceType::Cpu || known.iter().any(|software| name.contains(software))
    }

    fn open(&self, opened: &mut Vec<(WgpuDevice, Gpu)>, why: String) -> Result<Device, DeviceError> {
        let gpu = match opened.iter().find(|(selector, _)| *selector == self.selector) {
            Some((_, gpu)) => gpu.clone(),
            None => {
                let gpu =
                    self.init().map_err(|reason| DeviceError::Refused { name: self.info.name.clone(), reason })?;
                opened.push((self.selector.clone(), gpu.clone()));
                gpu
            }
        };
        let name = format!("{} ({:?})", self.info.name, self.info.backend);
        let burn = burn::tensor::Device::new(DispatchDevice::Cube(gpu.device.clone()));
        Ok(Device { burn, name, why, gpu: Some(gpu) })
    }

    /// Brings the runtime up on this adapter, or says in one line why that is impossible.
    fn init(&self) -> Result<Gpu, String> {
        let options = RuntimeOptions::try_default().map_err(|error| one_line(&error))?;
        try_init_setup::<AutoGraphicsApi>(&self.selector, options).map_err(|error| one_line(&error))?;
        Gpu::new(cubecl::Device::from(self.selector.clone()))
    }
}

/// The first lines of a message, up to the backtrace that the runtime's errors carry.
pub(crate) fn one_line(error: &dyn fmt::Display) -> String {
    let text = error.to_string();
    let text = text.split("Backtrace:").next().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_choice_reads_back_as_it_prints() {
        for text in ["auto", "gpu", "cpu", "gpu:llvmpipe"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_unknown_choice_names_what_is_allowed() {
        for text in ["", "cuda", "gpu:", "GPU"] {
            let message = text.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(message.contains("`auto`, `gpu`, `cpu` or `gpu:NAME`"), "{message}");
        }
    }

    #[test]
    fn the_cpu_opens_and_says_so() {
        let device = open(&DeviceChoice::Cpu).unwrap();
        assert!(device.name().starts_with("CPU, ") && device.why() == "asked for" && device.limits().is_none());
    }

    #[test]
    fn auto_never_takes_a_software_adapter() {
        let device = open(&DeviceChoice::Auto).unwrap();
        assert!(!device.name().to_lowercase().contains("llvmpipe"), "{}", device.name());
    }

    #[test]
    fn a_gpu_is_hardware_or_an_error_with_a_hint() {
        match open(&DeviceChoice::Gpu) {
            Ok(device) => assert!(device.is_gpu() && !device.name().to_lowercase().contains("llvmpipe")),
            Err(error) => assert!(error.to_string().starts_with("no GPU was found") && error.hint().is_some()),
        }
    }

    #[test]
    fn an_adapter_that_is_not_there_is_named_with_those_that_are() {
        let error = open(&DeviceChoice::Named("no such adapter".to_owned())).unwrap_err();
        assert!(error.to_string().contains("`no such adapter`"), "{error}");
        assert!(error.hint().unwrap().contains("--device"));
    }

    #[test]
    fn a_backtrace_is_cut_off_a_message() {
        assert_eq!(one_line(&"it broke\nCaused by:\n  a reason\nBacktrace:\n 0: main"), "it broke Caused by: a reason");
    }
}
