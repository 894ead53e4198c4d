# ruff: noqa: D205, D400, E501
"""
@misc{AutopickBC,
title = "Autopick-BC: machine-learning based particle picking from good and bad 2D classes",
author = "Meyerson, Joel R.",
howpublished = "GitHub",
journal = "GitHub",
year = "2021",
url = "https://github.com/joelmeyerson/autopick-bc",
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

@misc{Keras,
title = "Keras",
author = "Chollet, Francois and others",
howpublished = "Web page",
journal = "Web page",
year = "2015",
url = "https://keras.io",
}

@inproceedings{TensorFlow2016,
title = "TensorFlow: a system for large-scale machine learning",
author = "Abadi, Martin and Barham, Paul and Chen, Jianmin and others",
booktitle = "12th USENIX Symposium on Operating Systems Design and Implementation",
year = "2016",
url = "https://www.usenix.org/conference/osdi16/technical-sessions/presentation/abadi",
}
"""
