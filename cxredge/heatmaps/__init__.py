"""Pictures of where a network looks: class activation maps on X-rays."""
