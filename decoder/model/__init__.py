"""The model: R decoders of one pack with stacked parameters."""
