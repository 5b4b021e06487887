"""Evaluation: bits per dimension, importance sampling, baselines, clusters, values between layers, and pictures."""

from jflows.eval.annealing import annealed_importance_sample
from jflows.eval.bits import Evaluation, evaluate, row_scores
from jflows.eval.calibration import (
    Calibration,
    CalibrationTest,
    Ranks,
    calibration,
    calibration_figure,
    pit_of,
    ranks_of,
)
from jflows.eval.captions import captioned_grid
from jflows.eval.clusters import (
    ClusterScores,
    ComponentUse,
    GaussianMixture,
    cluster_scores,
    component_use,
    contingency_table,
    fit_gaussian_mixture,
)
from jflows.eval.defensive import Defensive, widened
from jflows.eval.densities import Modelled, densities_figure
from jflows.eval.directions import Direction, Plane, direction, edit, mean_latents, svm_normal, svm_plane
from jflows.eval.features import FeatureNetwork, train_features
from jflows.eval.fidelity import KernelDistance, frechet_distance, kernel_distance
from jflows.eval.gaussian import LogLikelihood, gaussian_baseline
from jflows.eval.importance import ImportanceSamples, importance_sample, pareto_k
from jflows.eval.information import bic, bic_figure
from jflows.eval.inpainting import Inpainted, hidden_pixels, inpaint
from jflows.eval.joint import ConditionalNormal, JointNormal, joint_normal
from jflows.eval.laplace import LaplacePosterior, Uncertainty, embedding_uncertainty, laplace
from jflows.eval.latent import decode_data, encode_centres, interpolate, manifold, reconstruct
from jflows.eval.layers import layer_names, layerwise
from jflows.eval.levels import resample_levels
from jflows.eval.mixture_report import MixtureReport, mixture_report
from jflows.eval.nats import PIXEL_SCALES, bits_from_nats, nats_from_bits
from jflows.eval.nearest import Neighbours, nearest_rows
from jflows.eval.pairs import pairs_figure
from jflows.eval.plane import Panel, flows_figure, plane_page
from jflows.eval.recalibration import Recalibration, fit_base, recalibrate
from jflows.eval.roc import Roc, roc, roc_figure
from jflows.eval.sampling import sample_in_chunks
from jflows.eval.separation import Auroc, auroc
from jflows.eval.surgery import Removed, remove

__all__ = [
    "PIXEL_SCALES",
    "Auroc",
    "Calibration",
    "CalibrationTest",
    "ClusterScores",
    "ComponentUse",
    "ConditionalNormal",
    "Defensive",
    "Direction",
    "Evaluation",
    "FeatureNetwork",
    "GaussianMixture",
    "ImportanceSamples",
    "Inpainted",
    "JointNormal",
    "KernelDistance",
    "LaplacePosterior",
    "LogLikelihood",
    "MixtureReport",
    "Modelled",
    "Neighbours",
    "Panel",
    "Plane",
    "Ranks",
    "Recalibration",
    "Removed",
    "Roc",
    "Uncertainty",
    "annealed_importance_sample",
    "auroc",
    "bic",
    "bic_figure",
    "bits_from_nats",
    "calibration",
    "calibration_figure",
    "captioned_grid",
    "cluster_scores",
    "component_use",
    "contingency_table",
    "decode_data",
    "densities_figure",
    "direction",
    "edit",
    "embedding_uncertainty",
    "encode_centres",
    "evaluate",
    "fit_base",
    "fit_gaussian_mixture",
    "flows_figure",
    "frechet_distance",
    "gaussian_baseline",
    "hidden_pixels",
    "importance_sample",
    "inpaint",
    "interpolate",
    "joint_normal",
    "kernel_distance",
    "laplace",
    "layer_names",
    "layerwise",
    "manifold",
    "mean_latents",
    "mixture_report",
    "nats_from_bits",
    "nearest_rows",
    "pairs_figure",
    "pareto_k",
    "pit_of",
    "plane_page",
    "ranks_of",
    "recalibrate",
    "reconstruct",
    "remove",
    "resample_levels",
    "roc",
    "roc_figure",
    "row_scores",
    "sample_in_chunks",
    "svm_normal",
    "svm_plane",
    "train_features",
    "widened",
]
