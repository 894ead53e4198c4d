# ruff: noqa: D205, D400, E501
"""
@article{AutoCryoPicker2019,
title = "AutoCryoPicker: an unsupervised learning approach for fully automated single particle picking in Cryo-EM images",
author = "Al-Azzawi, Adil and Ouadou, Anes and Tanner, John J. and Cheng, Jianlin",
journal = "BMC Bioinformatics",
volume = "20",
number = "1",
pages = "326",
year = "2019",
doi = "https://doi.org/10.1186/s12859-019-2926-y",
}

@misc{AutopickBC,
title = "Autopick-BC: machine-learning based particle picking from good and bad 2D classes",
author = "Meyerson, Joel R.",
howpublished = "GitHub",
journal = "GitHub",
year = "2021",
url = "https://github.com/joelmeyerson/autopick-bc",
}

@inproceedings{Bekker2019,
title = "Beyond the selected completely at random assumption for learning from positive and unlabeled data",
author = "Bekker, Jessa and Robberechts, Pieter and Davis, Jesse",
booktitle = "Machine Learning and Knowledge Discovery in Databases (ECML PKDD)",
journal = "ECML PKDD",
year = "2019",
url = "https://arxiv.org/abs/1809.03207",
}

@article{DeepCryoPicker2020,
title = "DeepCryoPicker: fully automated deep neural network for single protein particle picking in cryo-EM",
author = "Al-Azzawi, Adil and Ouadou, Anes and Highsmith, Max and Duan, Ye and Tanner, John J. and Cheng, Jianlin",
journal = "BMC Bioinformatics",
volume = "21",
number = "1",
pages = "509",
year = "2020",
doi = "https://doi.org/10.1186/s12859-020-03809-7",
}

@article{DeLaRosaTrevin2016,
title = "Scipion: A software framework toward integration, reproducibility and validation in 3D electron microscopy",
author = "de la Rosa-Trevin, J. M. and Quintana, A. and Del Cano, L. and others",
journal = "Journal of Structural Biology",
volume = "195",
number = "1",
pages = "93 - 99",
year = "2016",
doi = "https://doi.org/10.1016/j.jsb.2016.04.010",
}

@inproceedings{duPlessis2015,
title = "Convex formulation for learning from positive and unlabeled data",
author = "du Plessis, Marthinus C. and Niu, Gang and Sugiyama, Masashi",
booktitle = "Proceedings of the 32nd International Conference on Machine Learning",
journal = "Proceedings of Machine Learning Research",
volume = "37",
pages = "1386 - 1394",
year = "2015",
url = "https://proceedings.mlr.press/v37/plessis15.html",
}

@article{Elias2007,
title = "Target-decoy search strategy for increased confidence in large-scale protein identifications by mass spectrometry",
author = "Elias, Joshua E. and Gygi, Steven P.",
journal = "Nature Methods",
volume = "4",
number = "3",
pages = "207 - 214",
year = "2007",
doi = "https://doi.org/10.1038/nmeth1019",
}

@article{Glielmo2022,
title = "Ranking the information content of distance measures",
author = "Glielmo, Aldo and Zeni, Claudio and Cheng, Bingqing and Csanyi, Gabor and Laio, Alessandro",
journal = "PNAS Nexus",
volume = "1",
number = "2",
pages = "pgac039",
year = "2022",
doi = "https://doi.org/10.1093/pnasnexus/pgac039",
}

@article{Harauz1986,
title = "Exact filters for general geometry three dimensional reconstruction",
author = "Harauz, George and van Heel, Marin",
journal = "Optik",
volume = "73",
pages = "146 - 156",
year = "1986",
}

@inproceedings{Jeon2024,
title = "CryoBench: Diverse and challenging datasets for the heterogeneity problem in cryo-EM",
author = "Jeon, Minkyu and Raghu, Rishwanth and Astore, Miro and Woollard, Geoffrey and Feathers, Ryan and Kaz, Alkin and Hanson, Sonya M. and Cossio, Pilar and Zhong, Ellen D.",
booktitle = "Advances in Neural Information Processing Systems 37, Datasets and Benchmarks Track",
journal = "Advances in Neural Information Processing Systems (NeurIPS)",
volume = "37",
year = "2024",
url = "https://arxiv.org/abs/2408.05526",
}

@misc{Keras2015,
title = "Keras",
author = "Chollet, Francois and others",
howpublished = "Web page",
journal = "Web page",
year = "2015",
url = "https://keras.io",
}

@inproceedings{Kiryo2017,
title = "Positive-unlabeled learning with non-negative risk estimator",
author = "Kiryo, Ryuichi and Niu, Gang and du Plessis, Marthinus C. and Sugiyama, Masashi",
booktitle = "Advances in Neural Information Processing Systems 30",
journal = "Advances in Neural Information Processing Systems (NeurIPS)",
volume = "30",
year = "2017",
url = "https://arxiv.org/abs/1703.00593",
}

@inproceedings{Lipton2014,
title = "Optimal thresholding of classifiers to maximize F1 measure",
author = "Lipton, Zachary C. and Elkan, Charles and Naryanaswamy, Balakrishnan",
booktitle = "Machine Learning and Knowledge Discovery in Databases (ECML PKDD)",
journal = "ECML PKDD",
pages = "225 - 239",
year = "2014",
doi = "https://doi.org/10.1007/978-3-662-44851-9_15",
}

@article{McInnes2018,
title = "UMAP: Uniform Manifold Approximation and Projection",
author = "McInnes, Leland and Healy, John and Saul, Nathaniel and Grossberger, Lukas",
journal = "Journal of Open Source Software",
volume = "3",
number = "29",
pages = "861",
year = "2018",
doi = "https://doi.org/10.21105/joss.00861",
}

@incollection{Platt1999,
title = "Probabilistic outputs for support vector machines and comparisons to regularized likelihood methods",
author = "Platt, John C.",
booktitle = "Advances in Large Margin Classifiers",
journal = "Advances in Large Margin Classifiers, MIT Press",
pages = "61 - 74",
year = "1999",
}

@article{Storey2002,
title = "A direct approach to false discovery rates",
author = "Storey, John D.",
journal = "Journal of the Royal Statistical Society, Series B",
volume = "64",
number = "3",
pages = "479 - 498",
year = "2002",
doi = "https://doi.org/10.1111/1467-9868.00346",
}

@article{SuperCryoEMPicker2019,
title = "A super-clustering approach for fully automated single particle picking in cryo-EM",
author = "Al-Azzawi, Adil and Ouadou, Anes and Tanner, John J. and Cheng, Jianlin",
journal = "Genes",
volume = "10",
number = "9",
pages = "666",
year = "2019",
doi = "https://doi.org/10.3390/genes10090666",
}

@article{Tang2007,
title = "EMAN2: An extensible image processing suite for electron microscopy",
author = "Tang, Guang and Peng, Liwei and Baldwin, Philip R. and Mann, Deepinder S. and Jiang, Wen and Rees, Ian and Ludtke, Steven J.",
journal = "Journal of Structural Biology",
volume = "157",
number = "1",
pages = "38 - 46",
year = "2007",
doi = "https://doi.org/10.1016/j.jsb.2006.05.009",
}

@inproceedings{TensorFlow2016,
title = "TensorFlow: a system for large-scale machine learning",
author = "Abadi, Martin and Barham, Paul and Chen, Jianmin and others",
booktitle = "12th USENIX Symposium on Operating Systems Design and Implementation",
journal = "USENIX OSDI",
year = "2016",
url = "https://www.usenix.org/conference/osdi16/technical-sessions/presentation/abadi",
}

@article{Wojdyr2022,
title = "GEMMI: A library for structural biology",
author = "Wojdyr, Marcin",
journal = "Journal of Open Source Software",
volume = "7",
number = "73",
pages = "4200",
year = "2022",
doi = "https://doi.org/10.21105/joss.04200",
}

@article{Zivanov2018,
title = "New tools for automated high-resolution cryo-EM structure determination in RELION-3",
author = "Zivanov, Jasenko and Nakane, Takanori and Forsberg, Bjoern O. and Kimanius, Dari and Hagen, Wim J. H. and Lindahl, Erik and Scheres, Sjors H. W.",
journal = "eLife",
volume = "7",
pages = "e42166",
year = "2018",
doi = "https://doi.org/10.7554/eLife.42166",
}
"""
