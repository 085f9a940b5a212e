// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file gets a Linux kernel to compare with: the newest arm64 cloud kernel of Debian.
//!
//! It is fetched once, from the mirror that the machine's apt is configured for, into `target/`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::debian::{Apt, Mirror};
use crate::error::Error;
use crate::need::Install;
use crate::workspace;

/// The release whose kernel is Debian's newest.
const RELEASE: &str = "sid";

/// The package that depends on the newest kernel.
const NEWEST: &str = "linux-image-cloud-arm64";

/// Where packages have modules, and since Linux 7.0 the kernel.
const MODULES: &str = "usr/lib/modules";
/// Where earlier ones have them.
const MODULES_BEFORE: &str = "lib/modules";

/// A kernel and its modules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinuxKernel {
    /// The Image.
    pub image: PathBuf,
    /// The directory below which the modules are.
    pub modules: PathBuf,
}

/// Which Linux to compare with.
#[derive(Args, Clone, Debug, Default)]
pub struct LinuxOptions {
    /// Linux Image to boot [default: Debian's newest arm64 cloud kernel, fetched into target/]
    #[arg(long, value_name = "PATH", requires = "linux_modules")]
    linux_image: Option<PathBuf>,
    /// Directory with the modules of that Linux
    #[arg(long, value_name = "PATH", requires = "linux_image")]
    linux_modules: Option<PathBuf>,
}

impl LinuxOptions {
    /// Returns the kernel that was named, or else one that was fetched before, or else fetches one.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn kernel(&self, install: Install) -> Result<LinuxKernel, Error> {
        if let (Some(image), Some(modules)) = (&self.linux_image, &self.linux_modules) {
            for path in [image, modules] {
                std::fs::metadata(path).map_err(Error::file("read", path))?;
            }
            return Ok(LinuxKernel { image: image.clone(), modules: modules.clone() });
        }
        let dir = workspace::granule_dir().join("linux");
        if let Some(kernel) = LinuxKernel::below(&dir) {
            return Ok(kernel);
        }
        fetch(&dir, install).map_err(Error::NoLinux)?;
        LinuxKernel::below(&dir).ok_or_else(|| {
            Error::NoLinux(String::from("the packages have no kernel where one was looked for"))
        })
    }
}

impl LinuxKernel {
    /// Finds the kernel in unpacked packages.
    fn below(root: &Path) -> Option<Self> {
        let modules = [MODULES, MODULES_BEFORE].map(|dir| root.join(dir)).into_iter();
        let modules = modules.filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
        modules.map(|entry| entry.path()).find_map(|modules| {
            let version = modules.file_name()?.to_str()?;
            let images = [modules.join("vmlinuz"), root.join(format!("boot/vmlinuz-{version}"))];
            let image = images.into_iter().find(|image| image.exists())?;
            Some(Self { image, modules })
        })
    }
}

fn fetch(dir: &Path, install: Install) -> Result<(), String> {
    let mirror = Mirror::of_this_machine().ok_or("no apt mirror of a Debian release")?;
    let apt = Apt::new(&mirror, RELEASE, Some("arm64"), &dir.join("apt"), install)?;
    apt.update()?;
    let version = newest(&apt.show(NEWEST)).ok_or("the lists name no newest kernel")?;
    apt.unpack(&packages(&version, |name| !apt.show(name).is_empty()), dir)
}

/// Returns the version that the package of the newest kernel depends on.
fn newest(description: &str) -> Option<String> {
    let depends = description.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    let version = |package: &str| package.trim().strip_prefix("linux-image-").map(str::to_owned);
    let version = depends.split(',').find_map(version)?;
    version.split_whitespace().next().map(str::to_owned)
}

/// Returns the packages of a version: since Linux 7.0 the image's is empty and needs two others.
fn packages(version: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let parts = ["binary", "modules"].map(|part| format!("linux-{part}-{version}"));
    if parts.iter().all(|part| exists(part)) {
        return parts.into();
    }
    vec![format!("linux-image-{version}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTION: &str = "Package: linux-image-cloud-arm64\nVersion: 7.2.13-1\n\
        Depends: linux-base-cloud-arm64 (= 7.2.13-1), \
        linux-image-7.2.13+deb14-cloud-arm64 (= 7.2.13-1)\n";

    #[test]
    fn the_newest_version_is_what_the_package_depends_on() {
        assert_eq!(newest(DESCRIPTION).as_deref(), Some("7.2.13+deb14-cloud-arm64"));
        assert_eq!(newest("Package: x\n"), None);
    }

    #[test]
    fn a_version_comes_in_two_packages_or_in_one() {
        assert_eq!(packages("7", |_| true), ["linux-binary-7", "linux-modules-7"]);
        assert_eq!(packages("6", |_| false), ["linux-image-6"]);
    }

    #[test]
    fn a_kernel_is_found_beside_its_modules_or_in_boot() {
        let root = std::env::temp_dir().join(format!("granule-linux-{}", std::process::id()));
        let put = |path: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("create");
            std::fs::write(path, b"x").expect("write");
        };
        put("lib/modules/6.1/kernel/a.ko");
        assert_eq!(LinuxKernel::below(&root), None);
        put("boot/vmlinuz-6.1");
        let before = LinuxKernel::below(&root).expect("in boot");
        put("usr/lib/modules/7.2/vmlinuz");
        let now = LinuxKernel::below(&root).expect("beside modules");
        std::fs::remove_dir_all(&root).expect("remove");
        assert!(before.image.ends_with("boot/vmlinuz-6.1"), "{before:?}");
        assert!(now.image.ends_with("usr/lib/modules/7.2/vmlinuz"), "{now:?}");
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let missing = || Some(PathBuf::from("/no/such/Image"));
        let options = LinuxOptions { linux_image: missing(), linux_modules: missing() };
        let error = options.kernel(Install::Print).expect_err("no such file").to_string();
        assert!(error.starts_with("cannot read /no/such/Image"), "{error}");
    }
}
